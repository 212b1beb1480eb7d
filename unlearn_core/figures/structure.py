"""Figures of structure: kept neighbours, stakes, class relations before and after, similarity layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from unlearn_core.evidence.base import Measure
from unlearn_core.figures.base import GROUPS, figure, triples
from unlearn_core.figures.palette import DIVERGING, GREEN, MODEL_COLOURS, MODEL_SYMBOLS

CLEAR = "rgba(0,0,0,0)"
GROUP_NAMES = ("Other retained", "Neighbours of forgotten", "Forgotten")
SINGLE = 150  # groups up to this size also show single instances
CELL_TEXT = 12  # up to so many classes the numbers fit into the cells of a heat-map
STEADY = 0.1  # a difference scale never gets finer than this, or noise would look like change


def measure_rows(measures: list[Measure], labels: list[str], *, x: str, null: str | None = None) -> go.Figure:
    """Triples with two more marks: a dotted frame where the measure has a null, a bar for the interval of the unlearned value.

    null: the name of the null in the legend, such as "two retrained models" or "chance".
    """
    fig = triples(measures, labels, x=x)
    rows = range(len(measures))[::-1]
    for row, m in zip(rows, measures, strict=True):
        if m.null and null:
            fig.add_shape(
                type="rect",
                x0=m.null[0],
                x1=m.null[1],
                y0=row - 0.38,
                y1=row + 0.38,
                fillcolor=CLEAR,
                line={"color": GREEN, "width": 1.5, "dash": "dot"},
                layer="below",
            )
    if null and any(m.null for m in measures):
        fig.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=null,
            hoverinfo="skip",
            marker={"symbol": "square-open-dot", "size": 13, "color": GREEN, "line": {"width": 1.5}},
        )
    bars = [(row, m) for row, m in zip(rows, measures, strict=True) if m.ci and m.unlearned is not None]
    if bars:
        fig.add_scatter(
            x=[m.unlearned for _, m in bars],
            y=[row for row, _ in bars],
            mode="markers",
            showlegend=False,
            hoverinfo="skip",
            marker={"color": MODEL_COLOURS["unlearned"], "size": 1},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [m.ci[1] - m.unlearned for _, m in bars],
                "arrayminus": [m.unlearned - m.ci[0] for _, m in bars],
                "thickness": 2,
                "width": 5,
            },
        )
    return fig


def layer_rows(measures: list[Measure], *, x: str, null: str) -> go.Figure:
    """Triples by layer: a row for every measure with a value, the features last as in the network."""
    shown = sorted((m for m in measures if m.unlearned is not None), key=lambda m: _layer(m)[0] == "features")
    fig = measure_rows(shown, [_row(m) for m in shown], x=x, null=null)
    fig.add_scatter(
        x=[0], y=[0], mode="markers", marker={"size": 12, "opacity": 0}, showlegend=False, hoverinfo="skip"
    )  # 0 means something here
    return fig


def _layer(measure: Measure) -> tuple[str, str]:
    """Layer and group of a measure: ("hidden", "forget") of "layer:hidden:forget"; without a layer it is of the features."""
    if not measure.group.startswith("layer:"):
        return "features", ""
    layer, _, group = measure.group.removeprefix("layer:").partition(":")
    return layer, group


def _row(measure: Measure) -> str:
    layer, group = _layer(measure)
    return f"{layer}{', ' if group else ''}{GROUPS.get(group, group)}<br>n = {measure.n:,}"


def kept_neighbours(measures: list[Measure], labels: list[str]) -> go.Figure:
    """Share of old neighbours kept, one row a group, with what two retrained models share.

    measures: of the family structure.knn_overlap (or knn_overlap_to_retrained), top to bottom; labels: their names.
    """
    fig = measure_rows(measures, labels, x="kept neighbours (1 = the same ten)", null="two retrained models")
    fig.update_xaxes(range=[-0.02, 1.04])
    return fig


def kept_by_group(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Kept neighbours of single instances as half violins by group: unlearned to the left, all retrained models to the right.

    view: "kept" of the structure evidence: ids, group [n], unlearned [n], retrained [k, n]. Groups of few
    instances also show each of them.
    """
    fig = _halves(view, "kept neighbours", 0.06)
    for trace in fig.data:
        trace.update(span=[0, 1], spanmode="manual")
    fig.update_yaxes(range=[-0.02, 1.04])
    return fig


def drift_by_group(view: Mapping[str, np.ndarray]) -> go.Figure:
    """How far single instances drifted from the stakes, as half violins like those of kept neighbours.

    view: "stakes" of the structure evidence, with the same arrays.
    """
    fig = _halves(view, "drift from the stakes", None)
    for trace in fig.data:
        trace.update(spanmode="hard")
    fig.update_yaxes(rangemode="tozero")
    return fig


def _halves(view: Mapping[str, np.ndarray], y: str, bandwidth: float | None) -> go.Figure:
    """Half violins of single instances by group; bandwidth: of the smoothing, None for a rule."""
    fig = figure(y=y, height=360)
    halves = {"unlearned": ("negative", np.atleast_2d(view["unlearned"]))} if "unlearned" in view else {}
    halves["retrained"] = ("positive", view["retrained"])
    for who, (side, values) in halves.items():
        for code, group in enumerate(GROUP_NAMES):
            chosen = np.flatnonzero(view["group"] == code)
            drawn = values[:, chosen].ravel()
            points = who == "unlearned" and len(chosen) <= SINGLE
            fig.add_violin(
                x=[group] * len(drawn),
                y=drawn,
                side=side,
                name=who.capitalize(),
                legendgroup=who,
                showlegend=code == 2,
                scalemode="width",
                width=0.85,
                bandwidth=bandwidth,
                meanline={"visible": True},
                points="all" if points else False,
                pointpos=-0.4,
                jitter=0.5,
                hoveron="points",
                customdata=np.tile(view["ids"][chosen], len(values)),
                hovertemplate="instance %{customdata}: %{y:.2f}<extra></extra>",
                line={"color": MODEL_COLOURS[who], "width": 1.5},
                marker={"symbol": MODEL_SYMBOLS["unlearned"], "size": 5, "opacity": 0.8},
            )
    fig.update_layout(violinmode="overlay", violingap=0.1)
    return fig


def class_relations(view: Mapping[str, np.ndarray], class_names: Sequence[str]) -> go.Figure:
    """Heat-maps of the cosines between class centres: before | after | difference, the first two on one scale.

    view: "relations" of the structure evidence: classes [C], original, unlearned [C, C].
    """
    names = [class_names[c] for c in view["classes"]]
    before, after = view["original"], view["unlearned"]
    change = after - before
    limit = max(float(np.abs(change).max()), STEADY)
    titles = ("Before", "After", f"Difference (scale ±{limit:.2f})")
    fig = make_subplots(1, 3, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    bar = {"thickness": 10, "x": 1.0, "len": 0.48}
    scale = [[i / (len(DIVERGING) - 1), colour] for i, colour in enumerate(DIVERGING)]
    fig.update_layout(
        figure(legend=False, height=400).layout,
        coloraxis={"colorscale": scale, "cmin": -1, "cmax": 1, "colorbar": bar | {"title": "cosine", "y": 0.76}},
        coloraxis2={"colorscale": scale, "cmin": -limit, "cmax": limit, "colorbar": bar | {"title": "change", "y": 0.22}},
        margin={"l": 8, "r": 8, "t": 44, "b": 8},
    )
    for column, (matrix, axis) in enumerate(((before, "coloraxis"), (after, "coloraxis"), (change, "coloraxis2")), start=1):
        text = {"text": _short(matrix), "texttemplate": "%{text}", "textfont": {"size": 10, "color": "#20242c"}}
        fig.add_heatmap(
            z=matrix,
            x=names,
            y=names,
            coloraxis=axis,
            row=1,
            col=column,
            xgap=1,
            ygap=1,
            hovertemplate="%{y} – %{x}: %{z:.3f}<extra></extra>",
            **(text if len(names) <= CELL_TEXT else {}),
        )
    fig.update_yaxes(autorange="reversed", type="category", automargin=True, ticksuffix=" ")
    fig.update_xaxes(type="category", automargin=True)
    return fig


def _short(matrix: np.ndarray) -> list[list[str]]:
    """Numbers of a few characters that fit into a cell: ".3", "−.3", "1"; nothing for those that round to 0."""
    text = lambda value: "" if abs(value) < 0.05 else f"{value:.1f}".replace("0.", ".").replace("1.0", "1").replace("-", "−")  # noqa: E731
    return [[text(value) for value in row] for row in matrix]


def layer_similarity(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Debiased CKA with the original, layer by layer: unlearned, every retrained model, and the band between two retrained ones.

    view: "cka" of the structure evidence: layers [L], unlearned [L], retrained [k, L], null [pairs, L].
    """
    fig = figure(x="layer, first to last", y="similarity to the original (CKA)", height=320)
    layers = [str(name) for name in view["layers"]]
    if len(view["null"]):
        low, high = view["null"].min(axis=0), view["null"].max(axis=0)
        edge = {
            "mode": "lines+markers",
            "marker": {"symbol": "line-ew-open", "size": 24, "color": GREEN, "line": {"width": 1}},
            "line": {"color": GREEN, "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
        }
        fig.add_scatter(x=layers, y=high, showlegend=False, **edge)
        fig.add_scatter(x=layers, y=low, name="two retrained models", fill="tonexty", fillcolor="rgba(0,158,115,0.14)", **edge)
    for k, values in enumerate(view["retrained"]):
        fig.add_scatter(
            x=layers,
            y=values,
            mode="markers",
            name="Retrained",
            legendgroup="retrained",
            showlegend=k == 0,
            marker={"symbol": "line-ew-open", "size": 16, "color": MODEL_COLOURS["retrained"], "line": {"width": 2.5}},
            hovertemplate=f"retrained {k + 1}, %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    if "unlearned" in view:
        fig.add_scatter(
            x=layers,
            y=view["unlearned"],
            mode="lines+markers",
            name="Unlearned",
            line={"color": MODEL_COLOURS["unlearned"], "width": 2},
            marker={"symbol": MODEL_SYMBOLS["unlearned"], "size": 11},
            hovertemplate="unlearned, %{x}: %{y:.3f}<extra></extra>",
        )
    drawn = np.concatenate([np.ravel(view[key]) for key in ("null", "retrained", "unlearned") if key in view] + [[1.0]])
    fig.update_yaxes(range=[float(drawn.min()) - 0.08, 1.02])
    fig.update_xaxes(type="category", range=[-0.5, len(layers) - 0.5])
    return fig
