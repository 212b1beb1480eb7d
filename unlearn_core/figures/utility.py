"""Charts of utility: accuracy and loss as triples, accuracy by class, cost."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from unlearn_core.evidence.base import Measure, retrained_band
from unlearn_core.figures.base import figure, triples
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS

GROUP_NAMES = {"retain": "Retained", "forget": "Forgotten", "test": "Test"}


def accuracy(measures: list[Measure]) -> go.Figure:
    """Accuracy of retained, forgotten and test instances, a row each."""
    return share_axis(group_triples(measures, "utility.accuracy", "accuracy"))


def loss(measures: list[Measure]) -> go.Figure:
    """Mean cross-entropy of retained, forgotten and test instances, a row each."""
    return bounded_axis(group_triples(measures, "utility.loss", "loss (nats)"), low=0.0)


def group_triples(measures: list[Measure], family: str, x: str) -> go.Figure:
    """Triples of a family's measures for the groups in GROUP_NAMES, in that order; other groups are left out."""
    found = {m.group: m for m in measures if m.family == family}
    groups = [group for group in GROUP_NAMES if group in found]
    return triples([found[g] for g in groups], [f"{GROUP_NAMES[g]}<br>n = {found[g].n:,}" for g in groups], x=x)


def share_axis(fig: go.Figure) -> go.Figure:
    """The x axis of shares: percent, never beyond what a share can be."""
    return bounded_axis(fig, 0.0, 1.0).update_xaxes(tickformat=".0%")


def bounded_axis(fig: go.Figure, low: float = -np.inf, high: float = np.inf) -> go.Figure:
    """An x axis around all marks and intervals of triples, cut to the values that the measure can take."""
    seen = [float(v) for trace in fig.data for v in trace.x] + [edge for shape in fig.layout.shapes for edge in (shape.x0, shape.x1)]
    if not seen:
        return fig
    first, last = max(min(seen), low), min(max(seen), high)
    pad = 0.04 * (last - first) or 0.01
    return fig.update_xaxes(range=[first - pad, last + pad])


def per_class(view: dict[str, np.ndarray], group: str = "test") -> go.Figure:
    """Accuracy of every class with the retrained models' interval. view: "per_class"; group: "test" or "retain"."""
    there = np.flatnonzero(view[f"n_{group}"] > 0)
    names, counts = view["names"][there].astype(str).tolist(), view[f"n_{group}"][there]
    at = np.arange(len(there))
    retrained = view[f"retrained_{group}"][:, there]
    fig = figure(x="class", y="accuracy", height=340)
    bands = [retrained_band(values, 1 / n) for values, n in zip(retrained.T, counts, strict=True)] if len(retrained) else []
    bands = [(i, max(band.low, 0.0), min(band.high, 1.0)) for i, band in enumerate(bands) if band.low is not None]
    if bands:
        base, top = [low for _, low, _ in bands], [high - low for _, low, high in bands]
        fig.add_bar(
            x=[i for i, *_ in bands],
            y=top,
            base=base,
            width=0.62,
            marker={"color": MODEL_COLOURS["retrained"], "line_width": 0},
            opacity=0.16,
            name="Expected after retraining",
            hoverinfo="skip",
        )
    size = float(np.clip(260 / max(len(there), 1), 6, 22))
    if len(retrained):
        marker = {"color": MODEL_COLOURS["retrained"], "symbol": "line-ew-open", "size": size, "line": {"width": 2}}
        fig.add_scatter(
            x=np.tile(at, len(retrained)), y=retrained.ravel(), mode="markers", name="Retrained", marker=marker, hovertemplate="%{y:.1%}"
        )
    for who in ("original", "unlearned"):
        if f"{who}_{group}" in view:
            marker = {
                "color": MODEL_COLOURS[who],
                "symbol": MODEL_SYMBOLS[who],
                "size": min(size, 11),
                "line": {"width": 2, "color": MODEL_COLOURS[who]},
            }
            fig.add_scatter(
                x=at,
                y=view[f"{who}_{group}"][there],
                mode="markers",
                name=who.capitalize(),
                marker=marker,
                customdata=np.stack([names, counts.astype(str)], axis=-1),
                hovertemplate="%{customdata[0]}: %{y:.1%} of %{customdata[1]}",
            )
    fig.update_xaxes(tickmode="array", tickvals=at, ticktext=names, range=[-0.6, len(there) - 0.4], showgrid=False)
    return fig.update_yaxes(tickformat=".0%", range=[None, 1.03])


def cost(seconds: Measure, ratio: Measure | None = None) -> go.Figure:
    """Time of the method next to one retraining. seconds: "utility.seconds.method"; ratio: "utility.cost.ratio", its sentence is shown."""
    bars = [
        ("This method", seconds.unlearned, "unlearned", ""),
        ("One retraining", seconds.retrained and seconds.retrained.mean, "retrained", "/"),
    ]
    fig = figure(x="seconds", height=150, legend=False)
    for name, value, who, pattern in bars[::-1]:
        if value is not None:
            fig.add_bar(
                y=[name],
                x=[value],
                orientation="h",
                name=name,
                text=[f"{value:.2g} s"],
                textposition="auto",
                marker={"color": MODEL_COLOURS[who], "pattern": {"shape": pattern}},
                hovertemplate="%{x:.3g} s",
            )
    if ratio is not None and ratio.reason:
        fig.add_annotation(text=ratio.reason, xref="paper", yref="paper", x=0, y=1.02, xanchor="left", yanchor="bottom", showarrow=False)
    return fig.update_xaxes(rangemode="tozero")
