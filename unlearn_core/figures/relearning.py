"""Figures of relearning: how fast each model learns the forgotten instances again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS

STEADY = 0.1  # no axis gets finer than this, or a race about nothing would look like one


def race(view: Mapping[str, np.ndarray], *, y: str, share: bool = False) -> go.Figure:
    """Curves over the epochs of the race: retrained models thin, original and unlearned with marks, the target dotted.

    view: "relearn_loss" or "relearn_accuracy"; y: title of its axis; share: percent.
    """
    fig = figure(x="epochs on the forgotten instances", y=y, height=360)
    form = ".1%" if share else ".4f"
    for k, values in enumerate(view["retrained"]):
        fig.add_scatter(
            x=view["epoch"],
            y=values,
            mode="lines",
            name="Retrained",
            legendgroup="retrained",
            showlegend=k == 0,
            line={"color": MODEL_COLOURS["retrained"], "width": 1.2},
            hovertemplate=f"retrained {k + 1}: %{{y:{form}}}<extra></extra>",
        )
    for who in ("original", "unlearned"):
        if who in view:
            fig.add_scatter(
                x=view["epoch"],
                y=view[who],
                mode="lines+markers",
                name=who.capitalize(),
                line={"color": MODEL_COLOURS[who], "width": 2},
                cliponaxis=False,
                marker={"symbol": MODEL_SYMBOLS[who], "size": 9, "line": {"width": 2, "color": MODEL_COLOURS[who]}},
                hovertemplate=f"{who}: %{{y:{form}}}<extra></extra>",
            )
    if "target" in view:
        ends = view["epoch"][[0, -1]]
        line = {"color": MODEL_COLOURS["original"], "width": 1.5, "dash": "dot"}
        fig.add_scatter(x=ends, y=[float(view["target"])] * 2, mode="lines", name="half-way to the original", line=line, hoverinfo="skip")
    drawn = np.concatenate([np.ravel(view[who]) for who in ("original", "unlearned", "retrained") if who in view])
    if share:
        low = min(float(drawn.min()), 1 - STEADY)
        return fig.update_yaxes(tickformat=".0%", range=[low - 0.05 * (1 - low), 1 + 0.05 * (1 - low)])
    return fig.update_yaxes(range=[0, 1.06 * max(float(drawn.max()), STEADY)])
