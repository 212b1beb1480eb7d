"""Exact decision regions of models on two-dimensional inputs."""

from __future__ import annotations

import numpy as np

from unlearn_core.evidence.base import Measure, Subject, per_model
from unlearn_core.evidence.slices import on_grid

GRID = 160
PAD = 0.10


def region_view(subject: Subject) -> dict[str, np.ndarray]:
    """Classes of all models on a grid over the data, PAD wider on each side (see on_grid; [G, G], rows along y).

    x, y: [G]. density: [G, G] float32 share of the training data in each cell, smoothed, sums to 1.
    """
    grid = int(subject.settings.get("grid", GRID))
    low, high = subject.inputs.min(axis=0).astype(np.float64), subject.inputs.max(axis=0).astype(np.float64)
    margin = PAD * np.maximum(high - low, 1e-9)
    x, y = (np.linspace(low[i] - margin[i], high[i] + margin[i], grid) for i in (0, 1))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    view = on_grid(subject, ("regions", grid), points, (grid, grid))
    return {"x": x, "y": y, "density": subject.once(("density", grid), lambda: density(subject.inputs[subject.splits.train], x, y))} | view


def density(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of `points` [n, 2] in each cell around x, y: a histogram smoothed by a Gaussian of Scott's width. [G, G], sums to 1."""
    from scipy.ndimage import gaussian_filter

    edges = [np.concatenate([axis - np.diff(axis[:2]) / 2, axis[-1:] + np.diff(axis[:2]) / 2]) for axis in (y, x)]
    counts = np.histogram2d(points[:, 1], points[:, 0], bins=edges)[0]
    width = [points[:, i].std() * len(points) ** (-1 / 6) / np.diff(axis[:2])[0] for i, axis in ((1, y), (0, x))]
    smooth = gaussian_filter(counts, width, mode="constant", truncate=3)
    return (smooth / smooth.sum()).astype(np.float32)


def region_change(subject: Subject, view: dict[str, np.ndarray]) -> list[Measure]:
    """Share of the plane, and of the data's density, whose class differs from the original's."""

    def changed(who: str) -> np.ndarray:
        return (view["retrained"][int(who.split(":")[1])] if ":" in who else view[who]) != view["original"]

    weight, n = view["density"].astype(np.float64), view["density"].size
    id = "boundary.region_change"
    return [
        per_model(subject, id, "plane", lambda who: changed(who).mean(), n=n, resolution=1 / n),
        per_model(subject, id, "data", lambda who: (weight * changed(who)).sum(), n=n, resolution=1 / n, reliability="estimate"),
    ]
