"""The contract of evidence: every number is a Measure shown as original, unlearned and retrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from unlearn_core.data.base import Group, Number, Planting, Splits, task_of
from unlearn_core.models.outputs import Outputs
from unlearn_core.models.pool import Shadows

LEVEL = 0.95
MIN_RETRAINS = 3


@dataclass(frozen=True)
class Definition:
    """What one family of measures means; the interface shows this beside every number of the family.

    id: "utility.accuracy"; the measures of the family are "utility.accuracy.<group>".
    text: one or two plain sentences. unit: "share", "nats", "bits", "margin", "similarity", "AUC", "s" …
    verdict: whether lying inside the retrained interval is a meaningful question for this family.
    source: paper and equation, or "" for elementary statistics.
    tasks: of `data.base.TASKS`, those that it has a meaning for. needs: what it lacks in the others, for the row of a measure of classes
    there, which says why it is missing.
    """

    id: str
    title: str
    text: str
    unit: str
    verdict: bool = True
    source: str = ""
    tasks: tuple[str, ...] = ("classes",)
    needs: str = "one class for each instance"

    @property
    def range(self) -> tuple[float, float]:
        """The values that a measure of this unit can take; intervals are shown within it."""
        return {
            "share": (0.0, 1.0),
            "accuracy": (0.0, 1.0),
            "AUC": (0.0, 1.0),
            "bits": (0.0, 1.0),
            "nats": (0.0, math.inf),
            "epochs": (0.0, math.inf),
            "ratio": (0.0, math.inf),
            "correlation": (-1.0, 1.0),
            "R²": (-math.inf, 1.0),
            "own unit": (0.0, math.inf),
        }.get(self.unit, (-math.inf, math.inf))


@dataclass(frozen=True)
class Retrained:
    """Values of the retrained models and a t prediction interval for one further retrained model.

    low and high are None when fewer than MIN_RETRAINS values exist.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measure:
    """One number of evidence, for one group of instances (or layer, or class).

    ci: confidence interval of the unlearned value where that is an estimate. null: what pure chance or
    a fresh seed gives (low, high). reliability: "exact", "estimate" or "weak"; reason says why it is
    weak, or why a value is missing. n: the number of instances behind it. refused: why these instances
    are too few for a verdict ("too few points for a verdict: about 40 needed"), None if they are enough.
    """

    id: str
    group: str
    original: float | None = None
    unlearned: float | None = None
    retrained: Retrained | None = None
    ci: tuple[float, float] | None = None
    null: tuple[float, float] | None = None
    reliability: str = "exact"
    reason: str | None = None
    n: int = 0
    refused: str | None = None

    @property
    def family(self) -> str:
        return self.id.removesuffix("." + self.group)

    def inside(self, value: float | None = None) -> bool | None:
        """Whether `value` (the unlearned one by default) lies in the retrained interval; None where that cannot be said."""
        value = self.unlearned if value is None else value
        if self.refused or value is None or self.retrained is None or self.retrained.low is None:
            return None
        low, high = self.retrained.low, self.retrained.high
        dust = 1e-9 * max(1.0, abs(low), abs(high))  # of floating point; a tie is inside
        return low - dust <= value <= high + dust

    def verdict(self) -> str | None:
        """What the unlearned value shows, given where the untouched original lies.

        "like retrained": the original lay outside the retrained interval, the unlearned model lies inside.
        "still different": both outside. "moved away": only the unlearned one outside. "cannot tell": both
        inside, so this measure cannot show forgetting. None without interval or original.
        """
        after, before = self.inside(), self.inside(self.original) if self.original is not None else None
        if after is None or before is None:
            return None
        return {
            (False, True): "like retrained",
            (False, False): "still different",
            (True, False): "moved away",
            (True, True): "cannot tell",
        }[(before, after)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Measure:
        retrained = raw.get("retrained")
        pairs = {key: tuple(raw[key]) if raw.get(key) else None for key in ("ci", "null")}
        if retrained:
            retrained = Retrained(**(retrained | {"values": tuple(retrained["values"])}))
        return Measure(**(raw | pairs | {"retrained": retrained}))


@dataclass
class Subject:
    """What evidence looks at: one run's models, by their outputs only.

    `predict(who, inputs) -> logits [M, C]` runs a model on new inputs (slices through input space);
    `who` is "original", "unlearned" or "retrained:k". Features are the first argument of
    `head(who, features) -> logits`. layout: [n_train, 2] fixed map coordinates in the order of
    splits.train, None if there is none.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    modality: str
    inputs: np.ndarray
    splits: Splits
    forget: np.ndarray
    original: Outputs
    unlearned: Outputs | None
    retrained: Sequence[Outputs]
    predict: Callable[[str, np.ndarray], np.ndarray]
    head: Callable[[str, np.ndarray], np.ndarray]
    layout: np.ndarray | None = None
    seed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # "method", "retrain" (mean of one)
    settings: dict[str, Any] = field(
        default_factory=dict
    )  # "retrains" asked for, "goal" of the method, "spent" seconds of each earlier request
    # (who, seed) -> mean loss [epochs + 1] and accuracy [epochs + 1] on the forget set while that model learns it again
    relearn: Callable[[str, int], tuple[np.ndarray, np.ndarray]] | None = None
    shadows: Shadows | None = None  # the judging half of a pool, in an audit
    blends: bool = True  # as Dataset.blends
    # Where they do not: ids [n] -> [n, d] as the original embeds them, None if it cannot; and (who, ids [n], shares [M, n]) -> logits [M, C]
    # of the instances mixed in these shares.
    embed: Callable[[np.ndarray], np.ndarray] | None = None
    blend: Callable[[str, np.ndarray, np.ndarray], np.ndarray] | None = None
    requests: Sequence[np.ndarray] = ()  # ids of each request from the first to this one; together they are `forget`
    earlier: Sequence[Outputs] = ()  # the model after each request but the last
    planted: dict[str, np.ndarray] = field(default_factory=dict)  # training ids of known truth by name (data.planting)
    planting: Planting | None = None
    groups: dict[str, Group] = field(default_factory=dict)  # protected attributes
    memo: dict = field(default_factory=dict)  # values already computed, kept while retrained models arrive
    targets: np.ndarray | None = None  # as Dataset.targets; labels are then no classes
    target_names: tuple[str, ...] = ()
    number: Number | None = None

    @property
    def task(self) -> str:
        """One of data.base.TASKS."""
        return task_of(self.targets)

    @property
    def retain(self) -> np.ndarray:
        return np.setdiff1d(self.splits.train, self.forget)

    def names(self) -> list[str]:
        """The models that exist now: "original", "unlearned" (if any), "retrained:0" …"""
        present = ["original"] + (["unlearned"] if self.unlearned is not None else [])
        return present + [f"retrained:{k}" for k in range(len(self.retrained))]

    def outputs(self, who: str) -> Outputs:
        if who.startswith("retrained:"):
            return self.retrained[int(who.split(":")[1])]
        return {"original": self.original, "unlearned": self.unlearned}[who]

    def once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """`compute()` the first time `key` is asked for, the kept value afterwards."""
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


@dataclass
class Findings:
    """What one evidence module returns: measures, and named arrays that its figures draw."""

    measures: list[Measure] = field(default_factory=list)
    views: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Declaration of an evidence module, in the file that also holds `compute(subject) -> Findings`.

    most: how many retrained models it looks at, where each costs time and a few give the spread; all of them if None.
    applies: whether it has anything to say of these data at all, whatever their task.
    """

    name: str
    title: str
    version: int
    order: int
    definitions: tuple[Definition, ...]
    most: int | None = None
    applies: Callable[[Subject], bool] = lambda subject: True


def awaited(subject: Subject) -> str | None:
    """Why a verdict cannot be given yet, in plain words; None once there are enough retrained models."""
    k = len(subject.retrained)
    if subject.settings.get("retrains") == 0:
        return "no retrained models were asked for"
    if not k:
        return "the retrained models are not there yet"
    return f"a verdict needs {MIN_RETRAINS} retrained models, {k} so far" if k < MIN_RETRAINS else None


def retrained_band(
    values: Sequence[float], resolution: float = 0.0, level: float = LEVEL, family: int = 1, widen: float = 1.0
) -> Retrained | None:
    """t prediction interval for one more retrained model: mean ± t·s·sqrt(1 + 1/k).

    values: one per retrain seed. resolution: the smallest step the measure can take (1/n for a share of
    n instances); the interval never gets narrower than one step to either side. family: number of
    measures that shall hold simultaneously (Bonferroni). widen: factor on s, for values that share
    models and so spread less than independent ones. Returns None without values.
    """
    values = [float(v) for v in values]
    if not values:
        return None
    mean, k = float(np.mean(values)), len(values)
    if k < MIN_RETRAINS:
        return Retrained(tuple(values), mean, None, None)
    from scipy import stats  # here, because declarations are also imported by the page process

    quantile = stats.t.ppf(1 - (1 - level) / (2 * family), k - 1)
    half = max(float(quantile) * widen * float(np.std(values, ddof=1)) * float(np.sqrt(1 + 1 / k)), resolution)
    return Retrained(tuple(values), mean, mean - half, mean + half)


def per_model(subject: Subject, id: str, group: str, value: Callable[[str], float], *, n: int, resolution: float = 0.0, **rest) -> Measure:
    """A measure of single models: `value(who)` for the original, the unlearned and each retrained one."""
    got = {who: float(subject.once((id, group, who), lambda who=who: value(who))) for who in subject.names()}
    band = retrained_band([got[w] for w in got if w.startswith("retrained:")], resolution)
    rest["reason"] = rest.get("reason") or awaited(subject)
    return Measure(f"{id}.{group}", group, got.get("original"), got.get("unlearned"), band, n=n, **rest)


def to_retrained(
    subject: Subject, id: str, group: str, pair: Callable[[str, str], float], *, n: int, resolution: float = 0.0, **rest
) -> Measure:
    """A measure of closeness to the retrained models: the mean of `pair(who, retrained:k)` over k.

    Each retrained model is compared with the other retrained ones, so its value and `null` say what
    a fresh seed alone gives. `pair` must be symmetric. Says why it is missing before retrains exist.
    Those values share pairs: with pair(i, j) = μ + aᵢ + aⱼ their spread is (k − 2)/(k − 1) of the spread of
    a fresh model's value, so the interval is widened by the inverse.
    """
    others = [who for who in subject.names() if who.startswith("retrained:")]
    if not others:
        return Measure(f"{id}.{group}", group, n=n, **(rest | {"reason": awaited(subject)}))

    def mean_to(who: str) -> float | None:
        rest_of = [other for other in others if other != who]
        keys = [tuple(sorted((who, other))) for other in rest_of]
        found = [float(subject.once((id, group, *key), lambda key=key: pair(*key))) for key in keys]
        return float(np.mean(found)) if found else None

    own = [value for value in map(mean_to, others) if value is not None]
    k = len(own)
    band = retrained_band(own, resolution, widen=(k - 1) / (k - 2) if k > 2 else 1.0)
    rest["reason"] = rest.get("reason") or awaited(subject)
    null = (min(own), max(own)) if own else None
    unlearned = mean_to("unlearned") if subject.unlearned is not None else None
    return Measure(f"{id}.{group}", group, mean_to("original"), unlearned, band, null=null, n=n, **rest)


def missing(id: str, group: str, reason: str, n: int = 0) -> Measure:
    """A measure that was not computed, with the reason that the interface shows in its place."""
    return Measure(f"{id}.{group}", group, reliability="weak", reason=reason, n=n)
