"""What all figures share. Backgrounds are transparent, so that light and dark themes both work."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from unlearn_core.evidence import bounds
from unlearn_core.evidence.base import Measure
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS


def figure(*, x: str = "", y: str = "", height: int = 340, legend: bool = True) -> go.Figure:
    """An empty figure with axis titles `x` and `y` in the house style."""
    fig = go.Figure()
    fig.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 28, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        hoverlabel={"namelength": -1},
        xaxis={"title": x, "automargin": True},
        yaxis={"title": y, "automargin": True},
    )
    return fig


GROUPS = {"retain": "retained", "forget": "forgotten", "test": "test", "neighbours": "neighbours"}


def label(measure: Measure) -> str:
    """The name of a measure's group on an axis, with the number of instances where there is one."""
    name = GROUPS.get(measure.group) or measure.group.removeprefix("layer:").removeprefix("test:class:").removeprefix("test:label:")
    return f"{name}<br>n = {measure.n:,}" if measure.n else name


def band(fig: go.Figure, measure: Measure, y: float, half: float, ends: Callable[[Measure], tuple[float, float] | None] = bounds) -> None:
    """Draw the retrained interval of a measure at height y ± half; nothing if there is none."""
    interval = ends(measure)
    if interval is None:
        return
    edges = {"x0": interval[0], "x1": interval[1], "y0": y - half, "y1": y + half}
    fig.add_shape(type="rect", **edges, line_width=0, fillcolor=MODEL_COLOURS["retrained"], opacity=0.26, layer="below")


def triples(
    measures: list[Measure],
    labels: list[str],
    *,
    x: str,
    height: int | None = None,
    ends: Callable[[Measure], tuple[float, float] | None] = bounds,
) -> go.Figure:
    """One row a measure: original, unlearned, every retrained seed as a tick and their prediction interval.

    measures: rows from top to bottom; labels: their names. Measures without a value leave their row empty. ends: the interval of each.
    """
    fig = figure(x=x, height=height or 112 + 46 * len(measures))
    rows = list(range(len(measures)))[::-1]
    for row, measure in zip(rows, measures, strict=True):
        band(fig, measure, row, 0.3, ends)
    ticks = [(row, v) for row, m in zip(rows, measures, strict=True) if m.retrained for v in m.retrained.values]
    for who, points in {
        "retrained": ticks,
        "original": [(row, m.original) for row, m in zip(rows, measures, strict=True) if m.original is not None],
        "unlearned": [(row, m.unlearned) for row, m in zip(rows, measures, strict=True) if m.unlearned is not None],
    }.items():
        marker = {
            "color": MODEL_COLOURS[who],
            "symbol": MODEL_SYMBOLS[who],
            "size": 16 if who == "retrained" else 12,
            "line": {"width": 2.5, "color": MODEL_COLOURS[who]},
        }
        fig.add_scatter(
            x=[v for _, v in points],
            y=[row for row, _ in points],
            mode="markers",
            name=who.capitalize(),
            marker=marker,
            hovertemplate="%{x:.4f}",
        )
    fig.update_yaxes(tickmode="array", tickvals=rows, ticktext=labels, range=[-0.6, len(measures) - 0.4], title="")
    return fig
