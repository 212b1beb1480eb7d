"""Figures of several requests in a row: how each measure went from one request to the next."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import SYMBOLS, class_style


def steps(count: int) -> list[str]:
    """Names of the models from the original to the one after the last of `count` - 1 requests."""
    return ["original", *(f"after {k}" for k in range(1, count))]


def course(lines: Mapping[str, np.ndarray], retrained: Mapping[str, np.ndarray], *, y: str, share: bool = False) -> go.Figure:
    """One line for each name over the requests, and at the right what each retrained model has, in the line's colour.

    lines: values [s] from the original on; retrained: values [k] under the same names, where there are any.
    """
    count = len(next(iter(lines.values())))
    fig, form = figure(y=y, height=360), ".1%" if share else ".4f"
    for place, (name, values) in enumerate(lines.items()):
        colour, shape = class_style(place)
        fig.add_scatter(
            x=steps(count),
            y=values,
            mode="lines+markers",
            name=name,
            legendgroup=name,
            line={"color": colour, "width": 2},
            marker={"symbol": SYMBOLS[shape], "size": 9},
            cliponaxis=False,
            hovertemplate=f"{name}, %{{x}}: %{{y:{form}}}<extra></extra>",
        )
        others = retrained.get(name, ())
        fig.add_scatter(
            x=["retrained"] * len(others),
            y=others,
            mode="markers",
            name=f"{name}, retrained",
            legendgroup=name,
            showlegend=False,
            marker={"symbol": "line-ew-open", "size": 18, "color": colour, "line": {"width": 2.5, "color": colour}},
            cliponaxis=False,
            hovertemplate=f"{name}, one retrained model: %{{y:{form}}}<extra></extra>",
        )
    fig.update_xaxes(type="category", categoryorder="array", categoryarray=[*steps(count), "retrained"])
    if share:
        return fig.update_yaxes(tickformat=".1%")
    return fig.update_yaxes(rangemode="tozero")
