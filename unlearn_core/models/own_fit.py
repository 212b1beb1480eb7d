"""Weights of one's own into the architecture that they are for, or why they do not fit and what would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from unlearn_core import models
from unlearn_core.data.base import Dataset
from unlearn_core.data.importing.source import short
from unlearn_core.errors import BadInput
from unlearn_core.models import training
from unlearn_core.models.base import PRECISION, Facts, ModelInfo, recipe
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.own import FIELD, by, refuse_others
from unlearn_core.params import Param, resolve

PREFIXES = ("module.", "_orig_mod.", "model.")  # what wrappers (several devices, compiled, a trainer) put before every name
SCALING = ("standardise.mean", "standardise.scale")
NAMED = 3  # tensors that a sentence lists
TRIALS = 600  # architectures that are drawn on paper to find one that fits
SMALL = 24  # up to here every number may be a depth or a count of heads
SAMPLE = 4096

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fitted:
    """A model with given weights, in evaluation mode, and what was done to make them fit, in plain words."""

    model: Classifier
    notes: tuple[str, ...]


def fit(path: Path, info: ModelInfo, dataset: Dataset, params: dict[str, Any], device: str) -> Fitted:
    """The architecture of `info` for this dataset with the weights of the safetensors file `path`, which `own.read` has checked.

    Raises BadInput that says which tensors are missing, unexpected or of another shape, and with which settings they would fit.
    """
    refuse_others(info)
    weights, notes = _unwrapped(load_file(path))
    model = training.fresh(info, dataset, params, 0, "cpu")
    state = model.state_dict()
    scaled = all(name in weights for name in SCALING)
    wanted = {name: tuple(value.shape) for name, value in state.items() if scaled or name not in SCALING}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != given:
        problem = f"{_differences(wanted, given)}, so they do not fit {info.title} with these settings"
        raise BadInput(FIELD, f"{problem}.", _advice(given, info, dataset, params))
    for name, value in weights.items():
        if state[name].is_floating_point() != value.is_floating_point():
            there, here = str(value.dtype).removeprefix("torch."), str(state[name].dtype).removeprefix("torch.")
            raise BadInput(FIELD, f"{short(name)} holds {there} and not {here}.", "Give the state dict as this architecture has it.")
    other = sorted({str(value.dtype).removeprefix("torch.") for name, value in weights.items() if value.dtype != state[name].dtype})
    if other:
        notes.append(f"Numbers of the kind {', '.join(other)} became float32 or whole numbers of 64 bits, as everywhere here.")
    model.load_state_dict(state | weights)
    model = model.to(device).eval()
    if not scaled:
        notes.append(_scale(model, dataset, device))
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values() if value.is_floating_point()):
        raise BadInput(FIELD, "as float32 some of the numbers are not finite.", "Give a model that was trained well.")
    if bool((model.standardise.scale == 0).any()):
        raise BadInput(FIELD, "standardise.scale holds a zero, and inputs are divided by it.", "Give 1 where a feature never changes.")
    return Fitted(model, tuple(notes))


def check_answers(logits: np.ndarray) -> None:
    """Raises BadInput where a given model's answers are no numbers."""
    if not np.isfinite(logits).all():
        raise BadInput(FIELD, "the given model's answers to this data are not finite.", "Give a model that was trained on this data.")


def _unwrapped(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Without what a wrapper put before every name."""
    notes: list[str] = []
    while found := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in weights)), None):
        weights = {name.removeprefix(found): value for name, value in weights.items()}
        notes.append(f"Every name began with {found}, which was left out.")
    return weights, notes


@torch.no_grad()
def _scale(model: Classifier, dataset: Dataset, device: str) -> str:
    """Standardise by the data or not at all, whichever the given weights classify the training split better with; says which and why."""
    rows = torch.as_tensor(np.random.default_rng(0).permutation(dataset.splits.train)[:SAMPLE], device=device)
    x, y = training.tensors(dataset, device)
    mean, scale = model.standardise.mean, model.standardise.scale
    if model.standardise.tokens:
        return "The file has no standardise.mean and standardise.scale; for token ids they do nothing."

    def judged() -> tuple[float, float]:
        return training.mean_loss(model, x, y, rows), training.accuracy(model, x, y, rows)

    plain = mean.clone(), scale.clone()
    raw_loss, raw_right = judged()
    model.standardise.fit(x[torch.as_tensor(dataset.splits.train, device=device)])
    loss, right = judged()
    said = "The file has no standardise.mean and standardise.scale. "
    what = "of the training numbers' spread is explained" if dataset.task == "number" else "of training instances are right"
    if not loss < raw_loss:  # also where it is no number
        mean.copy_(plain[0])
        scale.copy_(plain[1])
        return f"{said}Inputs go in as they are: so {raw_right:.1%} {what}, and {right:.1%} if they were standardised."
    return f"{said}Mean and spread of the training split were taken: so {right:.1%} {what}, and {raw_right:.1%} without."


# what does not fit, and what would -------------------------------------------------------------------------


def _differences(wanted: Shapes, given: Shapes) -> str:
    """The first few tensors that are missing, unexpected or of another shape."""
    other = [name for name in wanted if name in given and wanted[name] != given[name]]
    missing, more = [name for name in wanted if name not in given], [name for name in given if name not in wanted]
    said = [
        _listed(other, lambda name: f"{name} is {by(given[name])} and not {by(wanted[name])}"),
        _listed(missing, lambda name: f"{name} is missing"),
        _listed(more, lambda name: f"{short(name)} is not expected"),
    ]
    return "; ".join(filter(None, said))


def _listed(names: list[str], words: Any) -> str:
    rest = f", and {len(names) - NAMED} more like it" if len(names) > NAMED else ""
    return ", ".join(map(words, names[:NAMED])) + rest


def _advice(given: Shapes, info: ModelInfo, dataset: Dataset, params: dict[str, Any]) -> str:
    """With which settings, or in which other architecture, weights of these shapes would fit."""
    tried = 0
    others = [other for other in models.suited(dataset).values() if other.name != info.name and not (other.train or other.prepare)]
    for other in (info, *others):
        start = params if other is info else resolve(other.params, {}, other.name)
        found, cost = suggest(given, other, Facts.of(dataset), start, TRIALS - tried)
        tried += cost
        if found is not None:
            said = ", ".join(f"{name} = {value}" for name, value in found.items())
            return f"They fit {'it' if other is info else other.title}{f' with {said}' if said else ''}."
        if tried >= TRIALS:
            break
    classes = next((given[name][0] for name in ("head.weight", "head.bias") if given.get(name)), None)
    wanted = Facts.of(dataset).classes
    if classes is not None and classes != wanted:
        if dataset.task == "classes":
            return f"Their head tells {classes} classes apart and the data has {wanted}: give a model of these classes."
        return f"Their head gives {classes} answers and the data asks for {wanted}: give a model of these."
    return "Give the state dict of this architecture, as a model that was trained here has it (the download of a run shows the names)."


def suggest(
    given: Shapes, info: ModelInfo, facts: Facts, params: Mapping[str, Any], most: int = TRIALS
) -> tuple[dict[str, Any] | None, int]:
    """Settings of the architecture that differ from `params` and give exactly these shapes, or None; and how many were tried.

    One setting after another takes the value that leaves fewest tensors amiss, from the sizes that occur in the file.
    """
    known = {param.name for param in (*recipe(epochs=1), PRECISION)}
    free = [param for param in info.params if param.name not in known and param.kind in ("int", "bool", "choice")]
    target, now, tried = set(given.items()), dict(params), 0

    def amiss(trial: Mapping[str, Any]) -> int:
        return len(_shapes(info, facts, trial, scaled=SCALING[0] in given) ^ target)

    usual = {name for name, _ in _shapes(info, facts, now, scaled=False) if not name.startswith("head.")}
    if 2 * len(usual & given.keys()) < len(usual) or not usual & given.keys() and len(given) > len(SCALING) + 2:
        return None, 0  # hardly a name in common: another architecture
    least = amiss(now)
    for _ in range(2):
        for param in free:
            for value in _candidates(param, given):
                if least == 0 or tried >= most:
                    break
                trial, tried = now | {param.name: value}, tried + 1
                if (found := amiss(trial)) < least:
                    least, now = found, trial
    return ({name: value for name, value in now.items() if params.get(name) != value} if least == 0 else None), tried


def _candidates(param: Param, given: Shapes) -> Iterator[Any]:
    """Values that a setting may have had: choices, small numbers, sizes in the file and what divides them."""
    if param.kind != "int":
        yield from (False, True) if param.kind == "bool" else param.choices
        return
    sizes = sorted({size for shape in given.values() for size in shape}, reverse=True)[:40]
    parts = {size // part for size in sizes for part in (1, 2, 3, 4, 8, 16) if size % part == 0}
    for value in sorted({*range(SMALL + 1), *parts}):
        if (param.low is None or value >= param.low) and (param.high is None or value <= param.high):
            yield value


def _shapes(info: ModelInfo, facts: Facts, params: Mapping[str, Any], scaled: bool) -> set[tuple[str, tuple[int, ...]]]:
    """Names and shapes of an architecture's tensors, without making them; empty where it cannot be built."""
    try:
        with torch.device("meta"):
            state = info.build(facts, dict(params)).state_dict()
    except Exception:  # settings that an architecture refuses are none that fit, whatever it raises
        return set()
    return {(name, tuple(value.shape)) for name, value in state.items() if scaled or name not in SCALING}
