"""Rates of protected groups, before, after and retrained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from unlearn_core.evidence.groups import LEAST
from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS

AXES = {"parity": "share of positive answers", "opportunity": "share recognised of those who have it", "accuracy": "accuracy"}


def rates(view: Mapping[str, np.ndarray], what: str) -> go.Figure:
    """One row for each group that is large enough to be compared. view: "groups_<attribute>"; what: "parity", "opportunity" or "accuracy"."""
    there = np.flatnonzero(view[f"{what}_n"] >= LEAST)
    rows = np.arange(len(there))[::-1]
    fig = figure(x=AXES[what], height=112 + 46 * len(there))
    for who in ("retrained", "original", "unlearned"):
        if f"{what}_{who}" not in view:
            continue
        values = np.atleast_2d(view[f"{what}_{who}"])[:, there]
        size = 16 if who == "retrained" else 12
        fig.add_scatter(
            x=values.ravel(),
            y=np.tile(rows, len(values)),
            mode="markers",
            name=who.capitalize(),
            marker={
                "color": MODEL_COLOURS[who],
                "symbol": MODEL_SYMBOLS[who],
                "size": size,
                "line": {"width": 2.5, "color": MODEL_COLOURS[who]},
            },
            hovertemplate="%{x:.1%}",
        )
    labels = [f"{view['names'][i]}<br>n = {view[f'{what}_n'][i]:,}" for i in there]
    fig.update_yaxes(tickmode="array", tickvals=rows, ticktext=labels, range=[-0.6, len(there) - 0.4], title="")
    return fig.update_xaxes(tickformat=".0%")
