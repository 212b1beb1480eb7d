"""Figure of SVC MIA-efficacy: whom the SVC takes for never seen, and whether it can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from unlearn_core.evidence.population_attacks import SVC_LEAST
from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import GREY
from unlearn_core.figures.privacy import GROUPS

PARTS = {
    "retain": ("Retained", "triangle-left-open"),
    "test": ("Test (never seen)", "triangle-right-open"),
    "forget": ("Forgotten", "diamond"),
}


def svc_models(view: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of the view "svc" by the name of the model: own balanced accuracy, shares of retained, test and forgotten called never seen."""
    single = {who.capitalize(): view[who] for who in ("original", "unlearned") if who in view}
    return single | {f"Retrained {k}": row for k, row in enumerate(view["retrained"], 1)}


def svc_shares(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Shares of retained, test and forgotten instances that the SVC calls never seen, one row a model.

    view: "svc" of the population evidence. A row says how often its SVC is right; it is faint where that is too seldom.
    """
    models = svc_models(view)
    fig = figure(x="share called never seen", height=104 + 44 * len(models))
    rows = np.arange(len(models))[::-1]
    values = np.array(list(models.values()))
    trusted = values[:, 0] >= SVC_LEAST
    for row, (_, *shares) in zip(rows, values, strict=True):
        fig.add_shape(type="line", x0=min(shares), x1=max(shares), y0=row, y1=row, line={"color": GREY, "width": 1}, layer="below")
    for column, (group, (name, symbol)) in enumerate(PARTS.items(), start=1):
        colour = GROUPS[group][0]
        fig.add_scatter(
            x=values[:, column],
            y=rows,
            mode="markers",
            name=name,
            marker={
                "symbol": symbol,
                "size": 9 if group == "forget" else 14,
                "color": colour,
                "opacity": np.where(trusted, 1.0, 0.6),
                "line": {"width": 2.5, "color": colour},
            },
            hovertemplate="%{x:.1%}",
        )
    labels = [
        f"{name}<br><span style='font-size: 0.85em'>SVC right in {math.floor(100 * row[0])}%{'' if sure else ': not believed'}</span>"
        for (name, row), sure in zip(models.items(), trusted, strict=True)
    ]
    fig.update_yaxes(tickmode="array", tickvals=rows, ticktext=labels, range=[-0.6, len(models) - 0.4])
    fig.update_xaxes(range=[-0.03, 1.03], tickformat=".0%")
    return fig
