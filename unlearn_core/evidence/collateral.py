"""Collateral: what happened to the retained instances near the forgotten ones."""

from __future__ import annotations

import numpy as np

from unlearn_core.data.base import TASKS
from unlearn_core.evidence.across import PROBE, probe, stacked
from unlearn_core.evidence.base import Definition, Evidence, Findings, Measure, Subject, awaited, missing, per_model, retrained_band
from unlearn_core.evidence.logits import membership_of, right
from unlearn_core.evidence.nearest import neighbours
from unlearn_core.evidence.readable import explained, readable
from unlearn_core.evidence.similarity import directions

BINS = 10
LEAST = 10  # instances of a bin
NOBODY = "there are no such instances"

EVIDENCE = Evidence(
    name="collateral",
    title="Collateral",
    version=1,
    order=60,
    definitions=(
        Definition(
            "collateral.damage",
            "Damage to retained instances",
            "How much less sure the model is of the given labels of retained instances than retrained models are, on average: 0 is as after "
            "retraining, above 0 is damage, below 0 is surer than retraining. Neighbours are the ten retained instances nearest to each "
            "forgotten one; far are all others of the farther half. An average can hide single instances that lost a lot.",
            "logits",
            source="logit-scaled confidence of Carlini et al., arXiv:2112.03570, section V-C",
            tasks=("classes", "labels"),
            needs="a confidence in the given answer",
        ),
        Definition(
            "collateral.error",
            "Loss on retained instances",
            "How much higher the loss of retained instances, half the squared error in spreads of the training numbers, is than in retrained "
            "models, on average: 0 is as after retraining, above 0 is damage. Neighbours are the ten retained instances nearest to each "
            "forgotten one; far are all others of the farther half.",
            "loss",
            tasks=("number",),
        ),
        Definition(
            "collateral.slope",
            "Does damage follow distance",
            "Rank correlation between the damage of a retained instance and its distance to the nearest forgotten one. Below 0 the damage sits "
            "near the forgotten instances, above 0 far from them, about 0 everywhere alike. It says where, not how much.",
            "correlation",
            source="Spearman 1904",
            tasks=TASKS,
        ),
        Definition(
            "collateral.accuracy",
            "Accuracy on neighbours",
            "Share of the neighbours, the ten retained instances nearest to each forgotten one, that are predicted as labelled. "
            "Retraining loses some of them too.",
            "share",
            tasks=("classes", "labels"),
            needs="answers that are right or wrong",
        ),
    ),
)


def compute(subject: Subject) -> Findings:
    """Accuracy of neighbours at once; damage, its slope and its curve over distance once there are retrained models.

    Damage of an instance is mean φ of the retrained models minus φ of the model, in logits; a retrained model is held against the mean of the
    others. It keeps its sign: seeds alone move φ of a single instance by some logits either way, which a mean of absolute values would
    collect and a mean of signed ones cancels, so that a common loss of half a logit shows.

    view "damage", n watched retained instances: ids, label, nearest (forgotten id), distance (1 − cosine of original features around the
    retained mean, 0..2), near, drawn (bool), original, unlearned [n], retrained [k, n]: φ; damage_original, damage_unlearned [n].
    view "damage_curve", bins of drawn instances by rank of distance: see `curve`.
    """
    subject, reason = readable(subject, features=False)
    if not len(subject.retain) or not len(subject.forget):
        return Findings([missing(d.id, group, NOBODY) for d in EVIDENCE.definitions if subject.task in d.tasks for group in _GROUPS[d.id]])
    view = watched(subject) | stacked(subject, lambda who: phi(subject, who))
    found = damages(view)
    view |= {f"damage_{who}": values for who, values in found.items() if who != "retrained"}
    rest = {}
    if len(view["ids"]) < len(subject.retain):
        rest = {"reliability": "estimate", "reason": f"from a sample of {len(view['ids']):,} retained instances"}
    far = view["drawn"] & ~view["near"] & (view["distance"] >= np.median(view["distance"][view["drawn"]]))
    measures = [damage(subject, group, found, rows, **rest) for group, rows in (("neighbours", view["near"]), ("far", far))]
    measures += [slope(subject, found, view, **rest), *([accuracy(subject, view, **rest)] if subject.task != "number" else [])]
    views = {"damage": view} | ({"damage_curve": curve(found, view)} if found else {})
    return explained(Findings(measures, views), subject, reason)


_GROUPS = {
    "collateral.damage": ("neighbours", "far"),
    "collateral.error": ("neighbours", "far"),
    "collateral.slope": ("retain",),
    "collateral.accuracy": ("neighbours",),
}


def watched(subject: Subject) -> dict[str, np.ndarray]:
    """The retained instances that are looked at, at most PROBE: all if so few, else all neighbours (half of PROBE at most) and a seeded sample.

    ids, label, nearest, distance [n]; near: is a neighbour; drawn: of the sample, which stands for all retained instances.
    """

    def choose():
        from sklearn.neighbors import NearestNeighbors

        retain, near = subject.retain, neighbours(subject)
        drawn = retain
        if len(retain) > PROBE:
            near = probe(subject, near, PROBE // 2)
            drawn = probe(subject, retain, PROBE - len(near))
        ids = np.union1d(near, drawn)
        features = np.nan_to_num(subject.original.features)
        unit = directions(features, features[retain].mean(axis=0, dtype=np.float64))
        chord, row = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(unit[subject.forget]).kneighbors(unit[ids])
        return {
            "ids": ids,
            "label": subject.labels[ids],
            "nearest": subject.forget[row[:, 0]],
            "distance": chord[:, 0] ** 2 / 2,  # of unit vectors: 1 − cosine
            "near": np.isin(ids, near),
            "drawn": np.isin(ids, drawn),
        }

    return dict(subject.once(("collateral.watched",), choose))


def phi(subject: Subject, who: str) -> np.ndarray:
    """`membership` of the watched instances, [n], computed once: for classes the logit-scaled confidence φ."""
    ids = watched(subject)["ids"]
    return subject.once(("collateral.phi", who), lambda: membership_of(subject, who, ids))


def damages(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Damage in logits from φ: original, unlearned [n] against the mean of the retrained models, retrained [k, n] each against the others.

    values: φ of original, unlearned [n] and retrained [k, n]. Empty without retrained models; one of them has no others, so gets no row.
    """
    retrained = values["retrained"]
    k = len(retrained)
    if not k:
        return {}
    mean = retrained.mean(axis=0)
    found = {who: mean - values[who] for who in ("original", "unlearned") if who in values}
    return found | {"retrained": (mean - retrained) * k / (k - 1) if k > 1 else retrained[:0]}


def damage(subject: Subject, group: str, found: dict[str, np.ndarray], rows: np.ndarray, **rest) -> Measure:
    """Mean damage of the watched instances in `rows` [n] bool."""
    return _beside(
        subject,
        "collateral.error" if subject.task == "number" else "collateral.damage",
        group,
        lambda values: float(values[rows].mean()),
        found,
        int(rows.sum()),
        _widen_mean,
        **rest,
    )


def slope(subject: Subject, found: dict[str, np.ndarray], view: dict[str, np.ndarray], **rest) -> Measure:
    """Spearman correlation of damage and distance over the drawn instances."""
    rows = view["drawn"]
    distance = view["distance"][rows]
    if np.ptp(distance) == 0:
        return missing("collateral.slope", "retain", "all retained instances are equally far", int(rows.sum()))
    correlate = lambda values: rank_correlation(values[rows], distance)  # noqa: E731
    return _beside(subject, "collateral.slope", "retain", correlate, found, int(rows.sum()), _widen_correlation, **rest)


def accuracy(subject: Subject, view: dict[str, np.ndarray], **rest) -> Measure:
    """Share of the neighbours that are predicted as labelled."""
    ids = view["ids"][view["near"]]
    share = lambda who: right(subject, who)[ids].mean()  # noqa: E731
    return per_model(subject, "collateral.accuracy", "neighbours", share, n=len(ids), resolution=1 / len(ids), **rest)


def curve(found: dict[str, np.ndarray], view: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean damage in up to BINS bins of equally many drawn instances, nearest first; neighbours beyond the sample join the bin they fall in.

    start, end, distance (edges and median), count [b]; original, unlearned, unlearned_low, unlearned_high (mean and quartiles over instances)
    [b]; retrained [k, b]; low, high [b]: interval of one more retrained model, NaN where there are too few.
    """
    distance = view["distance"]
    count = int(np.clip(view["drawn"].sum() // LEAST, 1, BINS))
    edges = np.unique(np.quantile(distance[view["drawn"]], np.linspace(0, 1, count + 1)))
    place = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, max(len(edges) - 2, 0))
    bins = [place == b for b in np.unique(place)]
    means = {who: np.stack([values[..., rows].mean(axis=-1) for rows in bins], axis=-1) for who, values in found.items()}
    bands = [retrained_band(values, widen=_widen_mean(len(values))) for values in means["retrained"].T]
    ends = np.array([(band.low, band.high) if band and band.low is not None else (np.nan, np.nan) for band in bands])
    table = {
        "start": [distance[rows].min() for rows in bins],
        "end": [distance[rows].max() for rows in bins],
        "distance": [np.median(distance[rows]) for rows in bins],
        "count": [int(rows.sum()) for rows in bins],
        "low": ends[:, 0],
        "high": ends[:, 1],
    }
    if "unlearned" in found:
        quartiles = np.array([np.quantile(found["unlearned"][rows], (0.25, 0.75)) for rows in bins])
        table |= {"unlearned_low": quartiles[:, 0], "unlearned_high": quartiles[:, 1]}
    return {name: np.asarray(values) for name, values in table.items()} | means


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's ρ of a [n] and b [n], ties sharing their mean rank; 0 where one of them is constant."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0


def _beside(subject: Subject, id: str, group: str, value, found: dict[str, np.ndarray], n: int, widen, **rest) -> Measure:
    """`value(damage)` of every model as one measure."""
    if not n:
        return missing(id, group, NOBODY)
    if not found:
        return missing(id, group, awaited(subject) or "the retrained models cannot be read", n)
    own = [value(values) for values in found["retrained"]]
    band, null = retrained_band(own, widen=widen(len(own))), (min(own), max(own)) if own else None
    rest["reason"] = "; ".join(filter(None, (rest.get("reason"), awaited(subject)))) or None
    single = {who: value(found[who]) if who in found else None for who in ("original", "unlearned")}
    return Measure(f"{id}.{group}", group, **single, retrained=band, null=null, n=n, **rest)


# One more model against the mean of k has the variance σ²(1 + 1/k). Each of the k against the mean of the other k − 1 has a larger one, and these
# values sum to 0, so their spread is that of the models times k / (k − 1): too wide by just that.
def _widen_mean(k: int) -> float:
    return (k - 1) / k if k else 1.0


# A correlation is scaled by the spread of the damage itself, so it has the same variance for one more model as for each of the k, and its
# expectation is 0 and not estimated; the values still sum to about 0, so their spread is too large by √(k / (k − 1)).
def _widen_correlation(k: int) -> float:
    return ((k - 1) / (k + 1)) ** 0.5 if k else 1.0
