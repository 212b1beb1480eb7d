"""Figures of a search for α: what every value that was tried scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import BLUE, GREEN, ORANGE, UNLEARNED

PARTS = {
    "forget": ("Distance from expected confidences", GREEN, "dash", "square-open"),
    "retain": ("Accuracy lost, retained", BLUE, "dot", "triangle-up-open"),
    "tuning": ("Accuracy lost, tuning", ORANGE, "dashdot", "triangle-down-open"),
}
TOTAL = "Score"
STEADY = 0.02  # no axis gets finer than this, or a search about nothing would look like one


def scores(search: Mapping[str, Any]) -> go.Figure:
    """Score of every value of α with its parts, lower is better; the chosen value is marked. search: "search" of what a run chose.

    A value whose model was no longer finite has no score and leaves a gap.
    """
    trials, best = search["trials"], search["trials"][search["best"]]
    at = [trial["alpha"] for trial in trials]
    fig = figure(x="α", y="score, lower is better", height=300)
    for name, (label, colour, dash, symbol) in PARTS.items():
        if search["goal"] == "misclassify" and name == "forget":
            label = "Accuracy left, forgotten"
        line = {"color": colour, "dash": dash, "width": 1.5}
        _line(fig, at, [trial[name] for trial in trials], label, line, {"symbol": symbol, "size": 7})
    if search["goal"] != "misclassify":  # there the score is the accuracy left
        _line(fig, at, [trial["score"] for trial in trials], TOTAL, {"color": UNLEARNED, "width": 2.5}, {"size": 7})
    if best["score"] is not None:
        marker = {"color": UNLEARNED, "symbol": "diamond", "size": 14}
        fig.add_scatter(
            x=[best["alpha"]], y=[best["score"]], mode="markers", name="Chosen", marker=marker, hovertemplate="α = %{x:.4g}: %{y:.4f}"
        )
    drawn = [value for trace in fig.data for value in trace.y if value is not None]
    return fig.update_yaxes(range=[0, 1.08 * max([*drawn, STEADY])])


def _line(fig: go.Figure, x: list[float], y: list[float | None], name: str, line: dict, marker: dict) -> None:
    if any(value is not None for value in y):
        style = {"line": line, "marker": marker | {"color": line["color"]}}
        fig.add_scatter(x=x, y=y, mode="lines+markers", name=name, cliponaxis=False, hovertemplate="%{y:.4f}", **style)
