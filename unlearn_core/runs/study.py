"""A study that anyone can rerun: methods × forget sets × seeds, each beside doing nothing and beside retraining."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unlearn_core import data, methods
from unlearn_core.data.choose import draw
from unlearn_core.errors import BadInput
from unlearn_core.models import own
from unlearn_core.runs import api, weights
from unlearn_core.runs.originals import Original
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import OriginalSpec
from unlearn_core.runs.store import Store

RETRAINS = 8
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Case:
    """One kind of forget set on one dataset; `choose(original, seed)` gives its ids."""

    name: str
    dataset: str
    choose: Callable[[Original, int], np.ndarray]
    params: dict = field(default_factory=dict)
    model: str | None = None


def _random(count: int) -> Callable[[Original, int], np.ndarray]:
    return lambda found, seed: draw(found.ids, count, seed)


def _hardest(count: int) -> Callable[[Original, int], np.ndarray]:
    return lambda found, seed: found.ids[np.argsort(-found.arrays["loss"], kind="stable")[:count]]


def _planted(name: str) -> Callable[[Original, int], np.ndarray]:
    return lambda found, seed: np.array(found.meta["planted"][name])


SUITES = {
    "sources": (
        Case("digits, 50 random", "digits", _random(50)),
        Case("digits, 50 hardest", "digits", _hardest(50)),
        Case("moons, mislabelled", "moons", _planted("mislabelled"), {"mislabelled": 0.1}),
        Case("breast cancer, 30 random", "breast_cancer", _random(30)),
    ),
    "quick": (Case("wine, 8 random", "wine", _random(8), model="softmax"),),
}
MEASURES = {
    "boundary.js.forget": "JS divergence to retraining on the forget set (bits)",
    "utility.accuracy_gap.mean": "average accuracy gap to retraining",
    "utility.accuracy.retain": "accuracy on retained",
    "utility.accuracy.forget": "accuracy on forgotten",
    "utility.accuracy.test": "accuracy on test",
    "instances.told_apart.forget": "share still told apart",
    "instances.over_forgotten.forget": "share over-forgotten",
    "utility.cost.ratio": "time, in retrainings",
}


@dataclass(frozen=True)
class Row:
    """One method on one case: for every measure the mean over seeds with the half-width of its 95 % t interval, or None.

    `method` is "original" for doing nothing and "retrained" for what the retrained models themselves get.
    """

    case: str
    method: str
    seeds: int
    values: dict[str, tuple[float, float] | None]


def study(
    suite: str,
    store: Store,
    seeds: int = 5,
    wanted: Sequence[str] = (),
    device: str = "cpu",
    reporter: Reporter | None = None,
    given: Path | None = None,
) -> Iterator[Row]:
    """The rows of a suite as they are done; every run is stored and can be opened in the dashboard. Raises BadInput.

    given: weights that the original has instead of being trained; the suite's cases that they do not fit are left out.
    """
    if suite not in SUITES:
        raise BadInput("suite", f"there is no suite called {suite!r}.", f"Choose one of: {', '.join(SUITES)}.")
    if seeds < LEAST_SEEDS:
        raise BadInput("seeds", f"{seeds} give no interval.", f"Ask for {LEAST_SEEDS} or more, better 5.")
    chosen = [methods.info(name) for name in wanted] or list(methods.registry().values())
    pipeline, reporter = Pipeline(store), reporter or Reporter()
    recipe = {own.FIELD: weights.keep(store, given).key} if given else {}
    fitting = 0
    for case in SUITES[suite]:
        spec = OriginalSpec.make(case.dataset, case.model, case.params, recipe, device=device)
        try:
            original = pipeline.prepare(spec, reporter)
        except BadInput as error:
            if error.field != own.FIELD:
                raise
            continue
        fitting += 1
        beside: dict[str, list] = {"original": [], "retrained": []}
        for place, method in enumerate(m for m in chosen if m.name in methods.suited(spec.model)):
            asked = (api.request(original, case.choose(original, seed), method.name, {}, seed, RETRAINS, device) for seed in range(seeds))
            runs = [api.complete(pipeline, request, reporter) for request in asked]
            yield Row(case.name, method.name, seeds, {id: _over([_value(run, id, "unlearned") for run in runs]) for id in MEASURES})
            if place == 0:
                beside = {"original": runs, "retrained": runs}
        for who, runs in beside.items():
            yield Row(case.name, who, seeds, {id: _over([_value(run, id, who) for run in runs]) for id in MEASURES})
    if not fitting:
        named = ", ".join(f"{case.dataset} with {case.model or data.info(case.dataset).default_model}" for case in SUITES[suite])
        raise BadInput(
            own.FIELD, f"they fit none of the models of this suite ({named}).", "Use the command run, which names what does not fit."
        )


def _value(run: api.Run, id: str, who: str) -> float | None:
    found = next((m for m in run.measures if m.id == id), None)
    if found is None:
        return None
    return (found.retrained.mean if found.retrained else None) if who == "retrained" else getattr(found, who)


def _over(values: list[float | None]) -> tuple[float, float] | None:
    """Mean and half-width of the 95 % t interval over seeds; None if any is missing."""
    from scipy.stats import t

    if any(value is None for value in values):
        return None
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1)) * spread


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ["set", "method", *MEASURES.values()]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [_cell(row.values[id], id) for id in MEASURES]
        lines.append(f"| {row.case} | {row.method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: tuple[float, float] | None, id: str) -> str:
    if value is None:
        return "–"
    digits = 4 if id.startswith("boundary") else 2 if "cost" in id else 3
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"
