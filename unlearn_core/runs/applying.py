"""Run one method on one model: the original of a run, or a shadow that stands for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unlearn_core import methods, models, seeds
from unlearn_core.data.base import Dataset
from unlearn_core.errors import BadInput
from unlearn_core.models import training
from unlearn_core.models.classifier import Classifier
from unlearn_core.models.device import stopwatch
from unlearn_core.models.objectives import most_frequent
from unlearn_core.models.pool import Shadows, never_seen
from unlearn_core.runs.spec import RunSpec

GUARD_SAMPLE = 512


@dataclass(frozen=True)
class Part:
    """Ids of what the model still knows, of what of it shall be forgotten, of instances that it never saw and the method may use,
    and of what it knew once and earlier requests forgot."""

    train: np.ndarray
    forget: np.ndarray
    heldout: np.ndarray
    gone: np.ndarray

    @staticmethod
    def of(spec: RunSpec, trained: np.ndarray, heldout: np.ndarray) -> Part:
        """The part of a request on a model that was trained on the instances `trained` and went through all earlier requests."""
        gone = np.intersect1d(trained, np.array(spec.earlier, dtype=np.int64))
        return Part(np.setdiff1d(trained, gone), np.intersect1d(trained, spec.forget), heldout, gone)

    @property
    def retain(self) -> np.ndarray:
        return np.setdiff1d(self.train, self.forget)


@dataclass(frozen=True)
class Unlearned:
    """What a method gave: the model, what "auto" became, sentences for the person, and its own seconds (looking at live accuracy not counted)."""

    model: Classifier
    chosen: dict[str, Any]
    notes: list[str]
    seconds: float


def from_scratch(
    spec: RunSpec,
    dataset: Dataset,
    ids: np.ndarray,
    seed: int,
    progress: training.Progress = training.silent,
    watch: Callable[[Classifier], bool] | None = None,
) -> Classifier:
    """A fresh model of the original's recipe on the instances `ids`."""
    return training.train(models.info(spec.original.model), dataset, spec.original.model_params, ids, seed, spec.device, progress, watch)


def apply(
    model: Classifier,
    dataset: Dataset,
    spec: RunSpec,
    part: Part,
    declared: methods.Method,
    progress: training.Progress = training.silent,
    shadows: Shadows | None = None,
) -> Unlearned:
    """Run the method `declared` on a copy of `model`, with the parameters and seed of `spec`; shadows: of the choosing half, for its targets.

    Raises BadInput where it lacks what it needs.
    """
    x, y = training.tensors(dataset, spec.device)

    def ids(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), device=spec.device)

    sample = ids(np.random.default_rng(spec.seed).permutation(part.retain)[:GUARD_SAMPLE])
    forget = ids(part.forget)
    knew = training.accuracy(model, x, y, sample)
    majority = most_frequent(y[sample])
    # Half of what it knew; with two classes that is mere guessing, so some knowledge beyond guessing must stay.
    floor = max(knew / 2, majority + 0.25 * (knew - majority)) if knew - majority > 0.2 else knew / 2
    stopped: list[str] = []
    if "heldout" in declared.needs and not len(part.heldout):
        raise BadInput("method", f"{declared.title} needs held-out instances and {dataset.name} has none.", "Choose another method.")

    def kept_by(model: Classifier) -> float:
        watched = stopwatch(spec.device)
        kept = training.accuracy(model, x, y, sample)
        progress(state["fraction"], retain_accuracy=kept, forget_accuracy=training.accuracy(model, x, y, forget))
        state["looking"] += watched()
        return kept

    def look(model: Classifier) -> bool:
        kept_by(model)
        return False

    def watch(model: Classifier) -> bool:
        kept = kept_by(model)
        if kept < floor:
            kept_as = "" if spec.params.get("rewind") else " The model is kept as it was then."
            what = "the share of the spread that is explained" if y.is_floating_point() else "accuracy"
            guess = {torch.int64: "the most frequent class", torch.bool: "the most frequent labels"}.get(y.dtype, "the mean")
            stopped.append(
                f"Stopped early: {what} on retained instances fell to {kept:.0%}; before it was {knew:.0%}, and always answering {guess} gives {majority:.0%}.{kept_as}"
            )
        return kept < floor

    state = {"fraction": 0.0, "looking": 0.0}

    def remember(fraction: float, **curves: float) -> None:
        state["fraction"] = fraction
        progress(fraction, **curves)

    def anew(seed: int) -> Classifier:
        # The guard-rail is for damage; a model that starts from nothing has none yet.
        return from_scratch(spec, dataset, part.retain, seed, remember, look)

    # Or two requests with one seed would draw the same: the noise of a certified model, say, must never be used twice.
    later = (len(spec.requests),) if spec.parent else ()
    passed = stopwatch(spec.device)
    task = methods.Task(
        model=copy.deepcopy(model),
        x=x,
        y=y,
        forget=forget,
        retain=ids(part.retain) if "retain" in declared.needs else None,
        heldout=ids(part.heldout) if "heldout" in declared.needs else None,
        share=len(part.forget) / len(part.train),
        params=dict(spec.params),
        seed=seeds.derive("method", spec.seed, *later),
        device=spec.device,
        train=anew if "train" in declared.needs else None,
        never_seen=_targets(model, dataset, spec, part, shadows) if "never_seen" in declared.needs else None,
        dataset=dataset.name,
        class_names=dataset.class_names,
        progress=remember,
        watch=watch,
        look=look,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        found = declared.run(task)
    return Unlearned(found.eval(), task.chosen, task.notes + stopped, passed() - state["looking"])


def _targets(model: Classifier, dataset: Dataset, spec: RunSpec, part: Part, shadows: Shadows) -> torch.Tensor:
    """Never-seen log-probabilities of the forget set, likeness being that of the model before unlearning."""
    rows = np.union1d(part.train, part.gone)
    features = training.read(model, dataset.inputs[rows], spec.device).features
    # Shadows saw some of what earlier requests forgot too, so all of that counts as absent together.
    absent = np.union1d(part.gone, part.forget)
    features = (features - features.mean(axis=0))[np.searchsorted(rows, absent)]
    found = never_seen(shadows, absent, features)[np.searchsorted(absent, part.forget)]
    return torch.as_tensor(found, device=spec.device)
