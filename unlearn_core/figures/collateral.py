"""Figures of collateral: damage of retained instances over their distance to the forgotten ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS

BAND = "rgba(35,137,204,0.2)"  # the retrained colour
ZERO = {"y": 0, "line_width": 1, "line_dash": "dot", "line_color": MODEL_COLOURS["original"]}
DAMAGE = "damage: less sure than retrained (logits)"


def damage_curve(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Mean damage in bins of retained instances, nearest to the forgotten ones first.

    view: "damage_curve" of the collateral evidence. The bar at an unlearned mark spans the middle half of its instances; the band is where one
    more retrained model would lie.
    """
    place = np.arange(1, len(view["count"]) + 1)
    fig = figure(x="retained instances by distance, nearest first", y=DAMAGE, height=380)
    if np.isfinite(view["low"]).all():
        edge = {"x": place, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        fig.add_scatter(y=view["high"], showlegend=False, **edge)
        fig.add_scatter(y=view["low"], fill="tonexty", fillcolor=BAND, name="one more retrained (95 %)", **edge)
    where = [
        f"{count} instances, distance {start:.3g} to {end:.3g}"
        for count, start, end in zip(view["count"], view["start"], view["end"], strict=True)
    ]
    for k, values in enumerate(view["retrained"]):
        fig.add_scatter(
            x=place,
            y=values,
            mode="markers",
            name="Retrained",
            legendgroup="retrained",
            showlegend=k == 0,
            marker={"symbol": "line-ew-open", "size": 14, "color": MODEL_COLOURS["retrained"], "line": {"width": 2}},
            customdata=where,
            hovertemplate=f"retrained {k + 1}: %{{y:.2f}}<br>%{{customdata}}<extra></extra>",
        )
    for who in ("original", "unlearned"):
        if who not in view:
            continue
        spread = {}
        if who == "unlearned":
            upper, lower = view["unlearned_high"] - view[who], view[who] - view["unlearned_low"]
            spread = {"error_y": {"type": "data", "symmetric": False, "array": upper, "arrayminus": lower, "thickness": 1, "width": 4}}
        fig.add_scatter(
            x=place,
            y=view[who],
            mode="lines+markers",
            name=who.capitalize(),
            line={"color": MODEL_COLOURS[who], "width": 2},
            marker={"symbol": MODEL_SYMBOLS[who], "size": 10, "line": {"width": 2, "color": MODEL_COLOURS[who]}},
            customdata=where,
            hovertemplate=f"{who}: %{{y:.2f}}<br>%{{customdata}}<extra></extra>",
            **spread,
        )
    fig.add_hline(**ZERO)
    ends = {1: "nearest", len(place): "farthest"}
    return fig.update_xaxes(tickmode="array", tickvals=place, ticktext=[ends.get(int(p), str(p)) for p in place], showgrid=False)


def damage_scatter(view: Mapping[str, np.ndarray]) -> go.Figure:
    """Damage of every watched instance over its distance to the nearest forgotten one; the original's can be shown from the legend.

    view: "damage" of the collateral evidence.
    """
    fig = figure(x="distance to the nearest forgotten instance", y=DAMAGE, height=380)
    for who, chosen, name, size in (
        ("original", np.ones(len(view["ids"]), bool), "Original", 6),
        ("unlearned", ~view["near"], "Unlearned, others", 5),
        ("unlearned", view["near"], "Unlearned, neighbours", 7),
    ):
        if f"damage_{who}" not in view:
            continue
        fig.add_scatter(
            x=view["distance"][chosen],
            y=view[f"damage_{who}"][chosen],
            mode="markers",
            name=name,
            visible="legendonly" if who == "original" else True,
            marker={
                "symbol": MODEL_SYMBOLS[who] if size > 5 else "diamond-open",
                "size": size,
                "color": MODEL_COLOURS[who],
                "opacity": 0.75 if size > 5 else 0.7,
            },
            customdata=np.stack([view["ids"][chosen], view["nearest"][chosen]], axis=-1),
            hovertemplate="instance %{customdata[0]}: damage %{y:.2f}<br>nearest forgotten: %{customdata[1]}, distance %{x:.3g}<extra></extra>",
        )
    fig.add_hline(**ZERO)
    return fig.update_xaxes(rangemode="tozero")
