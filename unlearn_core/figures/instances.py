"""Forgotten instances one by one: how many are told apart, where each needle stands, and whether the set as a whole looks retrained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from unlearn_core.evidence.instances import waffles
from unlearn_core.evidence.pool_attacks import Bell
from unlearn_core.evidence.verdicts import ALPHA, FEW, NOT, OVER, STILL, edges
from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import GREEN, GREY, MODEL_COLOURS, MODEL_SYMBOLS, ORANGE, PURPLE, SKY

MOST = 40
CELLS = 200  # instances up to which each has a cell of its own
STYLES = {  # colour, sign in a cell, marker, hatch
    NOT: (GREEN, "●", "circle", ""),
    STILL: (ORANGE, "▲", "triangle-up", "/"),
    OVER: (PURPLE, "▼", "triangle-down", "\\"),
    FEW: (GREY, "?", "x-thin-open", ""),
}
CELL = 38  # pixels a side, where the page is wide enough
PANELS = ((0, 0.44), (0.5, 0.72), (0.78, 1))  # large, small, small: parts of the width
X = "logit-scaled confidence φ in the given label"


def waffle(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Verdicts as cells: the unlearned model large, the untouched original and the retrained models on average small beside it.

    view: "instances". Up to CELLS instances have one cell each, the same one in both models' panels; of more, a cell is 1 %.
    """
    n, models = len(view["ids"]), len(view["retrained"])
    shares, counted = n > CELLS, waffles(view)
    columns = 10 if shares or n <= 60 else 20
    order = np.argsort([list(STYLES).index(name) for name in view["verdict"]], kind="stable")
    average = {name: mean for name, (mean, _) in counted["unlearned"].retrained.items()}
    panels = {"Unlearned": view["verdict"], "Original": view["verdict_original"], f"Retrained (mean of {models})": None}
    fig = make_subplots(1, 3)
    rows = -(-(100 if shares else n) // columns)
    fig.update_layout(
        figure(height=96 + CELL * rows).layout,
        legend={"itemclick": False, "itemdoubleclick": False, "y": 1, "yref": "container", "yanchor": "top"},
        margin={"t": 66},
    )
    for column, (title, names) in enumerate(panels.items(), start=1):
        counts = average if names is None else counted[title.lower()].counts
        if names is None or shares:
            cells = _cells(counts, 100 if shares else n)
            text = [f"{name}: {counts[name] / n:.0%}" if shares else f"{name}: {counts[name]:.1f} of {n}" for name in cells]
        else:
            cells = names[order].tolist()
            text = [f"{i}: {name}" for i, name in zip(view["ids"][order], cells, strict=True)]
        _panel(fig, column, cells, text, columns, title)
    shown = [name for name in STYLES if average[name] or any(counted[who].counts[name] for who in ("original", "unlearned"))]
    for name in shown:
        colour, _, symbol, _ = STYLES[name]
        fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker={"symbol": symbol, "size": 11, "color": colour})
    return fig


def _cells(counts: Mapping[str, float], cells: int) -> list[str]:
    """`cells` names in the proportions of `counts`: rounded down, the remaining cells to the largest remainders."""
    exact = np.array([counts[name] for name in STYLES]) * cells / sum(counts.values())
    whole = np.floor(exact + 1e-9).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: cells - whole.sum()]] += 1
    return np.repeat(list(STYLES), whole).tolist()


def _panel(fig: go.Figure, column: int, cells: list[str], text: list[str], columns: int, title: str) -> None:
    """One waffle: cells from the top left, row by row."""
    rows = -(-len(cells) // columns)
    codes = np.full(rows * columns, np.nan)
    codes[: len(cells)] = [list(STYLES).index(name) for name in cells]
    signs, hover = (
        np.array([*values, *[""] * (len(codes) - len(cells))]).reshape(rows, columns) for values in ([STYLES[c][1] for c in cells], text)
    )
    steps = np.linspace(0, 1, len(STYLES) + 1)
    fig.add_heatmap(
        z=codes.reshape(rows, columns),
        zmin=-0.5,
        zmax=len(STYLES) - 0.5,
        colorscale=[[steps[j + side], STYLES[name][0]] for j, name in enumerate(STYLES) for side in (0, 1)],
        showscale=False,
        xgap=3,
        ygap=3,
        text=signs,
        texttemplate="%{text}",
        textfont={"color": "#10151C", "size": 16 if column == 1 else 10},
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        row=1,
        col=column,
    )
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": "", "constrain": "domain"}
    fig.update_xaxes(
        **axis,
        side="top",
        title={"text": title, "standoff": 4},
        constraintoward="left",
        domain=PANELS[column - 1],
        range=[-0.5, columns - 0.5],
        row=1,
        col=column,
    )
    anchor = f"x{column if column > 1 else ''}"
    fig.update_yaxes(
        **axis,
        scaleanchor=anchor,
        constraintoward="top",
        domain=[0 if column == 1 else 0.5, 1],
        range=[rows - 0.5, -0.5],
        title="",
        row=1,
        col=column,
    )


def bells(
    never: Mapping[str, float],
    saw: Mapping[str, float] | None,
    original: float,
    unlearned: float,
    retrained: np.ndarray,
) -> go.Figure:
    """One instance: where models that never saw it stand, and the needle's way from the original to the unlearned model.

    never: mean, scale in logits and dof of the bell of one more model that never saw it (Student t, dof may be inf); saw: the same of
    models that saw it, None where nobody knows. original, unlearned: φ; retrained [k]: φ of each retrained model. The outermost
    ALPHA on either side of the bell is shaded: a needle there is still told apart, or over-forgotten.
    """
    bell, other = (known and Bell(*(np.float64(known[key]) for key in ("mean", "scale", "dof")), 0) for known in (never, saw))
    low, high = (float(edge) for edge in edges(bell))
    ends = [bell.mean - 6 * bell.scale, bell.mean + 6 * bell.scale, original, unlearned, *retrained]
    ends += [other.mean - 5 * other.scale, other.mean + 5 * other.scale] if other else []
    pad = 0.04 * (max(ends) - min(ends))
    start, stop = float(min(ends) - pad), float(max(ends) + pad)
    top = max(float(np.exp(one.log_density(one.mean))) for one in (bell, other) if one)
    fig = figure(x=X, height=360)
    blue = MODEL_COLOURS["retrained"]
    parts = (
        (f"never saw it ({100 - 200 * ALPHA:.0f} %)", low, high, blue, ""),
        (f"{STILL} ({100 * ALPHA:.0f} %)", high, stop, *STYLES[STILL][::3]),
        (f"{OVER} ({100 * ALPHA:.0f} %)", start, low, *STYLES[OVER][::3]),
    )
    for name, left, right, colour, hatch in parts:
        x = np.linspace(left, right, 200)
        fig.add_scatter(
            x=x,
            y=np.exp(bell.log_density(x)),
            mode="lines",
            line={"color": colour, "width": 2},
            fill="tozeroy",
            fillcolor=_faint(colour),
            fillpattern={"shape": hatch, "fgcolor": colour, "bgcolor": _faint(colour), "size": 6} if hatch else None,
            name=name,
            hoverinfo="skip",
        )
    if other:
        x = np.linspace(start, stop, 600)
        line = {"color": SKY, "width": 2, "dash": "dash"}
        fig.add_scatter(x=x, y=np.exp(other.log_density(x)), mode="lines", line=line, name="saw it", hoverinfo="skip")
    fig.add_scatter(
        x=retrained,
        y=np.full(len(retrained), -0.07 * top),
        mode="markers",
        name="Retrained",
        marker={"symbol": MODEL_SYMBOLS["retrained"], "size": 13, "line": {"width": 1.5, "color": blue}, "color": blue},
        hovertemplate="%{x:.2f}",
    )
    for who, value in (("original", original), ("unlearned", unlearned)):
        colour = MODEL_COLOURS[who]
        fig.add_scatter(
            x=[value, value],
            y=[0, 1.2 * top],
            mode="lines+markers",
            name=who.capitalize(),
            line={"color": colour, "width": 3 if who == "unlearned" else 2},
            marker={"symbol": MODEL_SYMBOLS[who], "size": [0, 13], "color": colour, "line": {"width": 2, "color": colour}, "opacity": 1},
            hovertemplate="φ %{x:.2f}",
        )
    if abs(original - unlearned) > 0.01 * (stop - start):
        fig.add_annotation(
            x=unlearned, ax=original, y=1.2 * top, ay=1.2 * top, xref="x", axref="x", yref="y", ayref="y", text="", showarrow=True, arrowhead=3, arrowwidth=2, arrowcolor=GREY, standoff=9, startstandoff=8,
        )  # fmt: skip
    fig.update_xaxes(range=[start, stop], zeroline=False)
    fig.update_yaxes(range=[-0.16 * top, 1.32 * top], showticklabels=False, showgrid=False, zeroline=True)
    return fig


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.26)"


def qq(view: Mapping[str, np.ndarray]) -> go.Figure:
    """p-values in rising order against uniform ones: original and unlearned, each retrained model as a thin line, the pointwise 95 % band.

    view: "uniformity". On the diagonal: as even as exact retraining is on average. Below it: too many small p-values, still told apart.
    """
    fig = figure(x="p-value expected if uniform", y="p-value found", height=420)
    expected, blue = view["expected"], MODEL_COLOURS["retrained"]
    fig.add_scatter(x=expected, y=view["high"], mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    fig.add_scatter(
        x=expected, y=view["low"], mode="lines", line={"width": 0}, fill="tonexty", fillcolor=_faint(GREY), name="95 % of independent values", hoverinfo="skip"
    )  # fmt: skip
    fig.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "width": 1, "dash": "dot"}, showlegend=False, hoverinfo="skip")
    for k, row in enumerate(view["retrained"]):
        fig.add_scatter(
            x=expected,
            y=row,
            mode="lines" if len(expected) > 1 else "markers",
            line={"color": blue, "width": 1},
            opacity=0.75,
            name="Retrained",
            legendgroup="retrained",
            showlegend=k == 0,
            hovertemplate=f"retrained {k + 1}: %{{y:.2f}}<extra></extra>",
        )
    for who in ("original", "unlearned"):
        colour = MODEL_COLOURS[who]
        marker = {"symbol": MODEL_SYMBOLS[who], "size": 8, "color": colour, "line": {"width": 1.5, "color": colour}}
        fig.add_scatter(x=expected, y=view[who], mode="markers", name=who.capitalize(), marker=marker, hovertemplate="%{y:.3f}")
    fig.update_xaxes(range=[-0.02, 1.02])
    fig.update_yaxes(range=[-0.02, 1.02])
    return fig


def needles(view: dict[str, np.ndarray]) -> go.Figure:
    """Logit-scaled confidence of each forgotten instance: 90 % band of never seen, retrained ticks, original ring, unlearned mark.

    view: "instances". Rows are sorted by the needle's place in the band, still told apart on top; at most MOST are drawn,
    the most extreme ones. A filled mark lies outside its band.
    """
    middle, half = (view["low"] + view["high"]) / 2, (view["high"] - view["low"]) / 2
    place = (view["unlearned"] - middle) / np.maximum(half, 1e-12)
    order = np.argsort(place)
    if len(order) > MOST:
        order = np.concatenate([order[: MOST // 2], order[-MOST // 2 :]])
    rows = np.arange(len(order))
    fig = figure(x=X, height=110 + 17 * len(order))
    colour = MODEL_COLOURS["retrained"]
    fig.add_bar(
        y=rows,
        x=2 * half[order],
        base=(middle - half)[order],
        orientation="h",
        width=0.7,
        marker={"color": colour, "opacity": 0.26, "line": {"width": 0}},
        name="never seen (90 %)",
        hoverinfo="skip",
    )
    ticks = view["retrained"][:, order]
    fig.add_scatter(
        x=ticks.ravel(),
        y=np.tile(rows, len(ticks)),
        mode="markers",
        name="Retrained",
        marker={"symbol": MODEL_SYMBOLS["retrained"], "size": 9, "line": {"width": 1.5, "color": colour}, "color": colour},
        hovertemplate="%{x:.2f}",
    )
    fig.add_scatter(
        x=view["original"][order],
        y=rows,
        mode="markers",
        name="Original",
        marker={"symbol": MODEL_SYMBOLS["original"], "size": 10, "line": {"width": 2}, "color": MODEL_COLOURS["original"]},
        hovertemplate="%{x:.2f}",
    )
    outside = np.isin(view["verdict"][order], (STILL, OVER))
    for name, chosen, symbol in (("Unlearned, like never seen", ~outside, "diamond-open"), ("Unlearned, flagged", outside, "diamond")):
        text = [f"{i}: {verdict}" for i, verdict in zip(view["ids"][order][chosen], view["verdict"][order][chosen], strict=True)]
        fig.add_scatter(
            x=view["unlearned"][order][chosen],
            y=rows[chosen],
            mode="markers",
            name=name,
            text=text,
            marker={
                "symbol": symbol,
                "size": 9,
                "color": MODEL_COLOURS["unlearned"],
                "line": {"width": 2, "color": MODEL_COLOURS["unlearned"]},
            },
            hovertemplate="%{text}, φ %{x:.2f}",
        )
    fig.update_yaxes(
        tickmode="array", tickvals=rows, ticktext=[str(i) for i in view["ids"][order]], range=[-0.8, len(order) - 0.2], title="instance"
    )
    return fig
