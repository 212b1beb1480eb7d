"""The overview map: averages of nearby instances on the fixed layout, with what says how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from unlearn_core.evidence.base import Measure, Subject, awaited, missing, retrained_band
from unlearn_core.evidence.logits import divergence, log_probabilities, predictions

GRID = 100
NEIGHBOURS = 15
BANDWIDTH = 5  # the distance to this neighbour is the Gaussian's width
NEAR = 0.02  # of the map's diagonal; cells farther from every instance are masked
MARGIN = 0.03
ENOUGH = 10  # flips, and points that did not flip, for an AUC


@dataclass(frozen=True)
class Smoother:
    """Nadaraya–Watson weights on the layout (Nadaraya 1964, Watson 1964) with an adaptive Gaussian width.

    x, y: [G] cell centres. kept: [G, G] bool, cells near data. cells: sparse [kept, n]. left_out: sparse [n, n] weights of every
    instance's surroundings without itself. Rows sum to 1, so `cells @ values` are averages of nearby instances.
    """

    x: np.ndarray
    y: np.ndarray
    kept: np.ndarray
    cells: Any
    left_out: Any


def weights(distance: np.ndarray, rows: np.ndarray, n: int, bandwidth: int = BANDWIDTH):
    """Sparse [m, n] row-normalised Gaussian weights from sorted distances [m, k] to the instances `rows` [m, k]."""
    from scipy.sparse import csr_matrix

    m, k = distance.shape
    width = np.maximum(distance[:, min(bandwidth, k) - 1, None], 1e-12 + 1e-9 * distance.max(initial=0.0))
    w = np.exp(-0.5 * np.square(distance / width)) + 1e-300  # so that a row never sums to 0
    return csr_matrix(((w / w.sum(axis=1, keepdims=True)).ravel(), rows.ravel(), np.arange(0, m * k + 1, k)), shape=(m, n))


def smoother(layout: np.ndarray, grid: int = GRID, k: int = NEIGHBOURS) -> Smoother:
    """Weights of the k nearest instances for a grid over `layout` [n, 2] and, leaving one out, for the instances; n ≥ 2."""
    from scipy.spatial import cKDTree

    layout = np.asarray(layout, dtype=np.float64)
    n, (low, high) = len(layout), (layout.min(axis=0), layout.max(axis=0))
    size = np.maximum(high - low, 1e-9)  # all instances may lie at one place
    margin = MARGIN * size
    x, y = (np.linspace(low[i] - margin[i], high[i] + margin[i], grid) for i in (0, 1))
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    tree = cKDTree(layout)
    kept = np.isfinite(tree.query(at, distance_upper_bound=NEAR * np.linalg.norm(size))[0])
    distance, rows = tree.query(at[kept], list(range(1, min(k, n) + 1)))
    cells = weights(distance, rows, n)
    distance, rows = tree.query(layout, list(range(1, min(k + 1, n) + 1)))
    others = rows != np.arange(n)[:, None]
    others[others.all(axis=1), -1] = False  # more exact duplicates than k: itself was not found, so drop the farthest
    distance, rows = (array[others].reshape(n, -1) for array in (distance, rows))
    return Smoother(x, y, kept.reshape(grid, grid), cells, weights(distance, rows, n))


def overview(subject: Subject) -> tuple[list[Measure], dict[str, np.ndarray] | None]:
    """The map's measures and its view; without a layout the measures say why they are missing, and there is no view.

    View: x, y [G]; delta, delta_retrained, delta_noise [G, G] float32 in bits, NaN where masked (change of the unlearned model, mean
    change of the retrained ones, mean between two retrained ones; each only if its models exist); region_original [G, G] int16,
    −1 where masked; flip_ids, flip_from, flip_to [f], flip_xy [f, 2]; forget_ids [m], forget_xy [m, 2]; fidelity, fidelity_n [3]
    for retain, forget, flipped of the unlearned model (of the original one without it), fidelity NaN where n is 0.
    """
    train = subject.splits.train
    if subject.layout is None or len(train) < 2:
        gone = (
            ("map_fidelity", "retain"),
            ("map_fidelity", "forget"),
            ("map_fidelity", "flipped"),
            ("map_locates_flips", "train"),
            ("map_change", "map"),
        )
        return [missing(f"boundary.{family}", group, "there is no map of this dataset") for family, group in gone], None
    grid = int(subject.settings.get("map_grid", GRID))
    s = subject.once(("smoother", grid), lambda: smoother(subject.layout, grid))
    forgotten = np.isin(train, subject.forget)
    flips = {who: (predictions(subject, who) != predictions(subject, "original"))[train] for who in subject.names()}
    fidelity = [
        map_fidelity(subject, s, group, chosen)
        for group, chosen in (("retain", dict.fromkeys(flips, ~forgotten)), ("forget", dict.fromkeys(flips, forgotten)), ("flipped", flips))
    ]
    spread = changes(subject, s)
    return [*fidelity, locates_flips(subject, s, flips), map_change(subject, spread)], view(subject, s, forgotten, flips, fidelity, spread)


def map_fidelity(subject: Subject, s: Smoother, group: str, chosen: dict[str, np.ndarray]) -> Measure:
    """Leave-one-out agreement of a model's own map with its true predictions on the training instances `chosen` for it."""
    train = subject.splits.train

    def hits(who: str) -> np.ndarray:
        return (s.left_out @ np.exp(log_probabilities(subject, who)[train])).argmax(axis=1) == predictions(subject, who)[train]

    found = {
        who: float(subject.once(("map_hits", who), lambda who=who: hits(who))[rows].mean()) for who, rows in chosen.items() if rows.any()
    }
    band = retrained_band([value for who, value in found.items() if who.startswith("retrained:")])
    shown = "unlearned" if subject.unlearned is not None else "original"
    n = int(chosen[shown].sum())
    reason = awaited(subject) if n else "no predicted label changed" if group == "flipped" else "there are no such instances"
    return Measure(
        f"boundary.map_fidelity.{group}",
        group,
        found.get("original"),
        found.get("unlearned"),
        band,
        reliability="estimate",
        reason=reason,
        n=n,
    )


def locates_flips(subject: Subject, s: Smoother, flips: dict[str, np.ndarray]) -> Measure:
    """AUC of the leave-one-out change map for telling flipped training instances from the others; 0.5 is chance."""
    found, null = {}, None
    for who, flipped in flips.items():
        count, rest = int(flipped.sum()), int((~flipped).sum())
        if min(count, rest) >= ENOUGH:
            change = subject.once(
                ("left_out_change", who), lambda who=who: s.left_out @ divergence(subject, "original", who)[subject.splits.train]
            )
            found[who] = auc(change, flipped)
            if who == "unlearned":  # normal approximation of the Mann–Whitney statistic without any relation
                half = 1.96 * np.sqrt((count + rest + 1) / (12 * count * rest))
                null = (max(0.0, 0.5 - half), min(1.0, 0.5 + half))
    band = retrained_band([value for who, value in found.items() if who.startswith("retrained:")])
    n = int(flips["unlearned"].sum()) if "unlearned" in flips else 0
    reason = awaited(subject) if "unlearned" in found else f"{n} flips are too few, it takes {ENOUGH}"
    return Measure(
        "boundary.map_locates_flips.train",
        "train",
        None,
        found.get("unlearned"),
        band,
        null=null,
        reliability="estimate",
        reason=reason,
        n=n,
    )


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher, ties count half."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    wins = rankdata(scores)[positive].sum() - count * (count + 1) / 2
    return float(wins / (count * (len(scores) - count)))


def changes(subject: Subject, s: Smoother) -> dict[tuple[str, str], np.ndarray]:
    """Smoothed divergence in bits on the kept cells for (original, model) and for pairs of retrained models."""
    retrained = [who for who in subject.names() if who.startswith("retrained:")]
    pairs = [("original", who) for who in subject.names()[1:]] + list(combinations(retrained, 2))
    return {
        pair: subject.once(("map_change", *pair), lambda pair=pair: s.cells @ divergence(subject, *pair)[subject.splits.train])
        for pair in pairs
    }


def map_change(subject: Subject, spread: dict[tuple[str, str], np.ndarray]) -> Measure:
    """Mean of the change map over its cells; null: what two retrained models differ by."""
    mean = {pair: float(values.mean()) for pair, values in spread.items()}
    band = retrained_band([value for pair, value in mean.items() if pair[0] == "original" and pair[1] != "unlearned"])
    noise = [value for pair, value in mean.items() if pair[0] != "original"]
    null = (min(noise), max(noise)) if noise else None
    changed = mean.get(("original", "unlearned"))
    return Measure(
        "boundary.map_change.map",
        "map",
        0.0,
        changed,
        band,
        null=null,
        reliability="estimate",
        reason=awaited(subject),
        n=len(subject.splits.train),
    )


def view(subject: Subject, s: Smoother, forgotten: np.ndarray, flips: dict, fidelity: list[Measure], spread: dict) -> dict[str, np.ndarray]:
    """The arrays that `overview` describes."""
    train, layout = subject.splits.train, np.asarray(subject.layout, dtype=np.float64)

    def on_map(values: np.ndarray, empty: float, dtype: type) -> np.ndarray:
        full = np.full(s.kept.shape, empty, dtype)
        full[s.kept] = values
        return full

    layers = {
        "delta": [values for pair, values in spread.items() if pair == ("original", "unlearned")],
        "delta_retrained": [values for pair, values in spread.items() if pair[0] == "original" and pair[1] != "unlearned"],
        "delta_noise": [values for pair, values in spread.items() if pair[0] != "original"],
    }
    region = (s.cells @ np.exp(log_probabilities(subject, "original")[train])).argmax(axis=1)
    found = {"x": s.x, "y": s.y, "region_original": on_map(region, -1, np.int16)}
    found |= {name: on_map(np.mean(values, axis=0), np.nan, np.float32) for name, values in layers.items() if values}
    flipped = flips.get("unlearned", np.zeros(len(train), bool))
    ids = train[flipped]
    found |= {"flip_ids": ids, "flip_xy": layout[flipped], "flip_from": predictions(subject, "original")[ids]}
    found |= {"flip_to": predictions(subject, "unlearned")[ids] if subject.unlearned is not None else ids}
    found |= {"forget_ids": train[forgotten], "forget_xy": layout[forgotten]}
    shown = [m.unlearned if subject.unlearned is not None else m.original for m in fidelity]
    counts = np.array([m.n for m in fidelity])
    return found | {"fidelity": np.array([np.nan if value is None else value for value in shown]), "fidelity_n": counts}
