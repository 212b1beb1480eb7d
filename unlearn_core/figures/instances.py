"""Each forgotten instance on a row: where never-seen instances lie, and how its needle moved."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import MODEL_COLOURS, MODEL_SYMBOLS

MOST = 40


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
    fig = figure(x="logit-scaled confidence φ in the given label", height=110 + 17 * len(order))
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
    outside = np.isin(view["verdict"][order], ("still told apart", "over-forgotten"))
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
