"""α by a short search: the method runs once for each of a few values, and what it did is judged without any retrained model.

Nothing here sees the held-out, test or population split, a retrained model or a shadow that judges: only the forget set, the retain set and the
tuning part of validation. What "like retrained" means for instances that nobody picked at random is estimated from the data: a vote of
retained neighbours in input space says how confident in its given label a model that never saw an instance would be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearn_core import seeds
from unlearn_core.params import SEARCH, STRENGTH

if TYPE_CHECKING:
    from unlearn_core.data.base import Dataset
    from unlearn_core.methods import Method
    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.pool import Shadows
    from unlearn_core.runs.applying import Part, Unlearned
    from unlearn_core.runs.progress import Reporter
    from unlearn_core.runs.spec import RunSpec
    from unlearn_core.runs.store import Store

VERSION = 1
VOTERS = 10_000  # retained instances that vote
SETTLE = 1000  # of them that set the vote's width
LOOK_AT = 2000  # forgotten, and retained, instances that a score looks at
WORDS = 1024  # columns that the words of texts are hashed to
WIDTHS = tuple(2.0**k for k in range(-5, 3))  # of the squared distance to the NEAR-th neighbour
NEAR = 6
DOUBTS = (0.01, 0.03, 0.1)  # share of the vote that always goes to the classes' frequencies
SAME = 0.005  # scores closer than this are equal
MARGIN = 0.03  # tuning accuracy that getting instances wrong may cost
WEAK = 0.1  # accuracy by which the vote may stay behind the model

RULES = {
    "undo": "Each value is scored by how far the model's confidences in the given labels of the forgotten instances lie from those that a "
    "vote of their retained neighbours expects for instances that were never seen (mean difference of the two sorted lists, from 0 to 1), "
    "plus the accuracy lost on retained and on tuning instances. The smallest score wins; of scores within "
    f"{SAME:g} of it, the value nearest to the usual one. No retrained model, test instance or auditing shadow model takes part.",
    "misclassify": "Each value is scored by the accuracy that is left on the forgotten instances. Of the values that cost at most "
    f"{MARGIN:.0%} accuracy on tuning instances, the smallest one with the lowest score wins; if all cost more, the one that costs least. "
    "No retrained model, test instance or auditing shadow model takes part.",
}


@dataclass(frozen=True)
class Trial:
    """One value of α with its score (lower is better, None if the model is no longer finite), the parts of it, and seconds.

    forget: distance of the confidences from the expected ones, or for misclassification accuracy on the forget set. retain, tuning: accuracy lost.
    """

    alpha: float
    score: float | None
    forget: float | None
    retain: float | None
    tuning: float | None
    seconds: float


def asked(params: dict[str, Any]) -> bool:
    """Whether α is to be searched for."""
    return params.get(STRENGTH) == SEARCH


def version(params: dict[str, Any]) -> dict[str, int]:
    """What a spec says of the search: its version, nothing where none is asked for."""
    return {"search": VERSION} if asked(params) else {}


def settled(spec: RunSpec, store: Store) -> RunSpec:
    """The spec with the α that its stored run found, for running the same method on other models."""
    if not asked(spec.params):
        return spec
    facts = json.loads((store.place("runs", spec.key) / "run.json").read_text(encoding="utf-8"))
    return replace(spec, params=spec.params | {STRENGTH: facts["chosen"][STRENGTH]})


def expected(dataset: Dataset, retain: np.ndarray, ids: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Confidence in its given label that each of `ids` would get from a model that never saw it, [n] in 0..1, and the vote's accuracy.

    Kernel regression on labels (Nadaraya 1964, Watson 1964): retained neighbours vote with weights exp(−d²/h), d in standardised input space,
    and a small share goes to the classes' frequencies. h and that share maximise the likelihood of retained instances, each left out of its own
    vote; the accuracy is theirs. In input space, since features of the model were learned with the forgotten instances.
    """
    labels = dataset.labels
    rng = np.random.default_rng(seed)
    voters = np.sort(rng.permutation(retain)[:VOTERS])
    left_out = rng.permutation(len(voters))[:SETTLE]
    flat = places(dataset, voters)
    middle, spread = flat.mean(axis=0), flat.std(axis=0)
    spread[spread <= 1e-8] = 1.0
    flat = (flat - middle) / spread
    asked_for = (places(dataset, ids) - middle) / spread
    classes = np.unique(np.concatenate([labels[voters], labels[ids]]))
    own, wanted = (np.searchsorted(classes, labels[rows]) for rows in (voters, ids))
    given = np.eye(len(classes))[own]
    frequency = given.mean(axis=0)

    distance = _squared(flat[left_out], flat)
    distance[np.arange(len(left_out)), left_out] = np.inf
    near = np.sort(distance, axis=1)[:, min(NEAR, len(voters) - 1) - 1]
    scale = max(float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else 1.0, 1e-12)
    best = None
    for width in WIDTHS:
        votes = _votes(distance, width * scale, given)
        for doubt in DOUBTS:
            told = (1 - doubt) * votes + doubt * frequency
            likelihood = np.log(told[np.arange(len(left_out)), own[left_out]]).mean()
            if best is None or likelihood > best[0]:
                best = likelihood, width, doubt, float((told.argmax(axis=1) == own[left_out]).mean())
    _, width, doubt, accuracy = best
    told = (1 - doubt) * _votes(_squared(asked_for, flat), width * scale, given) + doubt * frequency
    return told[np.arange(len(ids)), wanted], accuracy


def places(dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """Where instances lie, [n, d] float64: pixels and numbers as they are, a column for each category, hashed words of a text as a unit vector."""
    inputs = dataset.inputs[ids].reshape(len(ids), -1)
    if dataset.modality == "text":
        row, column = np.nonzero(inputs)
        counts = np.zeros((len(ids), WORDS))
        np.add.at(counts, (row, inputs[row, column] % WORDS), 1.0)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
    inputs, kinds = inputs.astype(np.float64), dataset.categories or ((),) * inputs.shape[1]
    if not any(kinds):
        return inputs
    columns = [np.eye(len(kind))[inputs[:, [k]].astype(int).ravel()] if kind else inputs[:, [k]] for k, kind in enumerate(kinds)]
    return np.concatenate(columns, axis=1)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [n, m] of rows."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0.0)


def _votes(distance: np.ndarray, width: float, given: np.ndarray) -> np.ndarray:
    nearest = distance.min(axis=1, keepdims=True)
    weight = np.exp(-(distance - np.where(np.isfinite(nearest), nearest, 0.0)) / width)
    return weight @ given / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)


def apart(confidence: np.ndarray, wanted: np.ndarray) -> float:
    """Mean distance of the sorted lists: the 1-Wasserstein distance of two samples of one size."""
    return float(np.abs(np.sort(confidence) - np.sort(wanted)).mean())


def pick(trials: Sequence[Trial], goal: str, usual: float) -> int:
    """Place of the trial that the goal's rule chooses; if none is finite, of the one nearest to `usual`."""
    finite = [k for k, trial in enumerate(trials) if trial.score is not None]
    if not finite:
        return min(range(len(trials)), key=lambda k: abs(trials[k].alpha - usual))
    if goal == "misclassify":
        safe = [k for k in finite if trials[k].tuning <= MARGIN + 1e-9]
        if not safe:
            return min(finite, key=lambda k: (trials[k].tuning, trials[k].score, trials[k].alpha))
        return min(safe, key=lambda k: (trials[k].score, trials[k].alpha))
    least = min(trials[k].score for k in finite)
    equal = [k for k in finite if trials[k].score <= least + SAME]
    return min(equal, key=lambda k: (abs(trials[k].alpha - usual), trials[k].score))


def apply(
    model: Classifier,
    dataset: Dataset,
    spec: RunSpec,
    part: Part,
    declared: Method,
    reporter: Reporter,
    start: float,
    stop: float,
    shadows: Shadows | None = None,
) -> Unlearned:
    """`applying.apply` between `start` and `stop` of the whole; where the spec asks for a search, with the best of a few values of α.

    The search counts in the seconds, and its trials are under "search" in what was chosen. Every value runs with the run's own seed, so the
    result is the one that asking for the chosen value by hand gives.
    """
    from unlearn_core.models.device import stopwatch
    from unlearn_core.models.training import Diverged
    from unlearn_core.runs import applying

    if not asked(spec.params):
        return applying.apply(model, dataset, spec, part, declared, reporter.stage(declared.title, start, stop), shadows)
    param = next(param for param in declared.params if param.name == STRENGTH)
    passed = stopwatch(spec.device)
    judge = _Judge(model, dataset, part, spec.device, declared.goal)
    ready, done, trials = passed(), [], []
    for k, value in enumerate(param.trials):
        first, last = (start + (stop - start) * place / len(param.trials) for place in (k, k + 1))
        progress = reporter.stage(f"trying α = {value:.3g} ({k + 1} of {len(param.trials)})", first, last)
        own = replace(spec, params=spec.params | {STRENGTH: value})
        passed = stopwatch(spec.device)
        try:
            found = applying.apply(model, dataset, own, part, declared, progress, shadows)
        except Diverged as error:  # the other values may hold
            done.append(error)
            trials.append(Trial(value, None, None, None, None, passed()))
            continue
        passed = stopwatch(spec.device)
        score, forget, retain, tuning = judge(found.model)
        done.append(found)
        trials.append(Trial(value, score, forget, retain, tuning, found.seconds + passed()))
    best = pick(trials, declared.goal, param.usual)
    if isinstance(done[best], Diverged):
        raise done[best]
    seconds = ready + sum(trial.seconds for trial in trials)
    search = {
        "rule": RULES[declared.goal],
        "goal": declared.goal,
        "best": best,
        "seconds": seconds,
        "vote": judge.accuracy,
        "trials": [asdict(trial) for trial in trials],
    }
    chosen = done[best].chosen | {STRENGTH: trials[best].alpha, "search": search}
    return replace(done[best], chosen=chosen, notes=[*_notes(search, judge), *done[best].notes], seconds=seconds)


class _Judge:
    """Scores one unlearned model after the other against what the model before knew."""

    def __init__(self, model: Classifier, dataset: Dataset, part: Part, device: str, goal: str):
        self.dataset, self.device, self.goal = dataset, device, goal
        draw = np.random.default_rng(seeds.derive("tuning"))
        self.forget, self.retain = (np.sort(draw.permutation(ids)[:LOOK_AT]) for ids in (part.forget, part.retain))
        self.tuning = dataset.splits.tuning
        self.wanted, self.accuracy = None, None
        if goal == "undo" and len(part.retain) > 1:
            self.wanted, self.accuracy = expected(dataset, part.retain, self.forget, seeds.derive("vote"))
        self.knew = {name: self._right(model, ids) for name, ids in (("retain", self.retain), ("tuning", self.tuning))}

    def __call__(self, model: Classifier) -> tuple[float | None, float | None, float | None, float | None]:
        """Score, and its parts for the forget set, retained and tuning instances; all None for a model that is no longer finite."""
        from unlearn_core.models import training

        logits = training.predict(model, self.dataset.inputs[self.forget], self.device).astype(np.float64)
        if not np.isfinite(logits).all():
            return None, None, None, None
        lost = [max(0.0, self.knew[name] - self._right(model, ids)) for name, ids in (("retain", self.retain), ("tuning", self.tuning))]
        own = np.arange(len(logits)), self.dataset.labels[self.forget]
        if self.goal == "misclassify":
            left = float((logits.argmax(axis=1) == own[1]).mean())
            return left, left, *lost
        if self.wanted is None:
            return sum(lost), None, *lost
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        distance = apart((p / p.sum(axis=1, keepdims=True))[own], self.wanted)
        return distance + sum(lost), distance, *lost

    def _right(self, model: Classifier, ids: np.ndarray) -> float:
        from unlearn_core.models import training

        if not len(ids):
            return 0.0
        told = training.predict(model, self.dataset.inputs[ids], self.device).argmax(axis=1)
        return float((told == self.dataset.labels[ids]).mean())


def _notes(search: dict[str, Any], judge: _Judge) -> list[str]:
    best, trials = search["trials"][search["best"]], search["trials"]
    said = [
        f"α = {best['alpha']:.3g} is the outcome of a short search over {len(trials)} values from {trials[0]['alpha']:g} to "
        f"{trials[-1]['alpha']:g}. The time of the method is that of the whole search."
    ]
    finite = [trial["score"] for trial in trials if trial["score"] is not None]
    if search["goal"] == "undo" and finite and max(finite) - min(finite) <= SAME:
        said.append("All of them score the same, so α hardly matters here, and the usual value stays.")
    if judge.accuracy is not None and judge.accuracy < judge.knew["tuning"] - WEAK:
        said.append(
            f"The vote of neighbours that the search for α goes by is right for {judge.accuracy:.0%} of retained instances only, the model for "
            f"{judge.knew['tuning']:.0%} of tuning instances: on data like these it is a weak guide."
        )
    return said


def table(search: dict[str, Any]) -> str:
    """The trials of a search for a terminal, the chosen one marked."""
    forget = "left on forgotten" if search["goal"] == "misclassify" else "from expected"
    names = ("alpha", "score", "forget", "retain", "tuning", "seconds")
    lines = [f"  {'α':>9}{'score':>9}{forget:>19}{'lost on retained':>18}{'lost on tuning':>16}{'seconds':>9}"]
    for k, trial in enumerate(search["trials"]):
        cells = ("–" if trial[name] is None else format(trial[name], ".4g") for name in names)
        lines.append(
            ("> " if k == search["best"] else "  ")
            + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (9, 9, 19, 18, 16, 9), strict=True))
        )
    return "\n".join([*lines, "", f"α = {search['trials'][search['best']]['alpha']:g} in {search['seconds']:.3g} s. {search['rule']}"])
