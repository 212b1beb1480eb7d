"""Live curves of a computation that is under way."""

from __future__ import annotations

import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import BLUE, GREY, VERMILLION

_LINES = {
    "loss": ("Loss", GREY, "dot", "y2"),
    "retain_accuracy": ("Accuracy, retained", BLUE, "solid", "y"),
    "forget_accuracy": ("Accuracy, forgotten", VERMILLION, "dash", "y"),
}


def curves(points: list[dict]) -> go.Figure:
    """points: dicts with "stage", "fraction" and any of loss, retain_accuracy, forget_accuracy; the newest stage is drawn."""
    stage = points[-1]["stage"]
    points = [point for point in points if point["stage"] == stage]
    fig = figure(x=f"progress of {stage}", y="accuracy", height=220)
    for name, (label, colour, dash, axis) in _LINES.items():
        drawn = [(p["fraction"], p[name]) for p in points if name in p]
        if drawn:
            fig.add_scatter(
                x=[x for x, _ in drawn],
                y=[y for _, y in drawn],
                mode="lines",
                name=label,
                yaxis=axis,
                line={"color": colour, "dash": dash, "width": 2},
            )
    fig.update_layout(
        yaxis={"range": [0, 1.02], "tickformat": ".0%"},
        yaxis2={"title": "loss", "overlaying": "y", "side": "right", "rangemode": "tozero", "showgrid": False},
    )
    fig.update_xaxes(tickformat=".0%")
    return fig
