"""Decision regions on a grid: shaded classes, and boundary lines found from the grid itself."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.palette import GREY, MODEL_COLOURS, class_style

LEVELS = 5  # steps of confidence that the shading tells apart
LINES = {  # the boundary of each model keeps width and dash, so that colour is not the only cue
    "original": {"color": GREY, "width": 1.5},
    "unlearned": {"color": MODEL_COLOURS["unlearned"], "width": 3},
    "retrained": {"color": MODEL_COLOURS["retrained"], "width": 1.5, "dash": "dash"},
}


def rgba(colour: str, alpha: float) -> str:
    """ "#RRGGBB" and an opacity as a CSS colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.3f})"


def shading(labels: np.ndarray, top: np.ndarray, x: np.ndarray, y: np.ndarray, classes: int, fade: np.ndarray | None = None) -> go.Heatmap:
    """Classes as colours, stronger where the model is surer. labels, top probability, fade in 0..1: [G, G]."""
    sure = np.clip((top.astype(np.float64) - 1 / classes) / (1 - 1 / classes), 0, 1) * (1 if fade is None else fade)
    step = np.minimum((sure * LEVELS).astype(int), LEVELS - 1)
    alphas = np.linspace(0.10, 0.50, LEVELS)
    count = classes * LEVELS
    scale = []
    for i in range(count):
        colour = rgba(class_style(i // LEVELS)[0], alphas[i % LEVELS])
        scale += [[i / count, colour], [(i + 1) / count, colour]]
    z = (labels.astype(np.int32) * LEVELS + step).astype(np.uint8 if count < 256 else np.int16)
    return go.Heatmap(x=x, y=y, z=z, zmin=-0.5, zmax=count - 0.5, colorscale=scale, showscale=False, hoverinfo="skip")


def boundary_lines(labels: np.ndarray, gap: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polylines between unlike cells, NaN between pieces: xs, ys in the units of x and y.

    labels: [G, G], rows along y. gap: [G, G] top minus second probability; between two cells the line lies where the
    linearly interpolated gap is 0, which is where the classes tie.
    """
    crossings, links = {}, {}
    for axis, (dr, dc) in enumerate(((0, 1), (1, 0))):
        a, b = labels[: labels.shape[0] - dr, : labels.shape[1] - dc], labels[dr:, dc:]
        for r, c in np.argwhere(a != b).tolist():
            left, right = float(gap[r, c]), float(gap[r + dr, c + dc])
            t = left / (left + right) if left + right > 0 else 0.5
            crossings[axis, r, c] = (x[c] + t * (x[c + dc] - x[c]), y[r] + t * (y[r + dr] - y[r]))
    squares: dict[tuple[int, int], list] = {}
    for axis, r, c in crossings:
        for square in ((r, c), (r - 1, c) if axis == 0 else (r, c - 1)):
            if 0 <= square[0] < len(y) - 1 and 0 <= square[1] < len(x) - 1:
                squares.setdefault(square, []).append((axis, r, c))
    for square, nodes in squares.items():
        hub = nodes[1]
        if len(nodes) > 2:  # several classes meet here: join them in the middle
            hub = ("hub", *square)
            crossings[hub] = tuple(np.mean([crossings[node] for node in nodes], axis=0))
        for node in nodes if len(nodes) > 2 else nodes[:1]:
            links.setdefault(node, set()).add(hub)
            links.setdefault(hub, set()).add(node)
    paths = chains(links)
    points = [p for path in paths for p in [*(crossings[node] for node in path), (np.nan, np.nan)]]
    xs, ys = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return xs, ys


def chains(links: dict) -> list[list]:
    """Split an undirected graph (node -> neighbours, used up) into paths that use every edge once, ends and forks first."""
    paths = []
    for start in [*sorted((n for n in links if len(links[n]) != 2), key=str), *list(links)]:
        while links[start]:
            path = [start]
            while links[path[-1]]:
                here = path[-1]
                following = links[here].pop()
                links[following].discard(here)
                path.append(following)
            paths.append(path)
    return paths


def overlay(view: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> list[go.Scatter]:
    """The boundary of each model of a grid view as one line trace, every retrained model in the last one."""
    traces = []
    for who, line in LINES.items():
        if who not in view:
            continue
        grids = view[who], view[f"{who}_gap"]
        pairs = zip(*grids, strict=True) if who == "retrained" else [grids]
        parts = [boundary_lines(labels, gap, x, y) for labels, gap in pairs]
        if parts:
            xs, ys = (np.concatenate(axis) for axis in zip(*parts, strict=True))
            traces.append(go.Scatter(x=xs, y=ys, mode="lines", line=line, name=f"Boundary: {who}", hoverinfo="skip", legendgroup=who))
    return traces
