"""Two runs on one scale."""

from __future__ import annotations

import plotly.graph_objects as go

from unlearn_core.evidence.base import Measure
from unlearn_core.figures.base import band, figure
from unlearn_core.figures.palette import GREEN, ORIGINAL, VERMILLION


def beside(first: list[Measure], second: list[Measure], names: list[str]) -> go.Figure:
    """One row a group: original, the unlearned values of both runs, and each run's retrained interval.

    first, second: measures of one family. Groups that only one of them has are left out.
    """
    others = {m.group: m for m in second}
    groups = [m.group for m in first if m.group in others]
    mine = {m.group: m for m in first}
    fig = figure(height=110 + 48 * len(groups))
    rows = {group: len(groups) - 1 - position for position, group in enumerate(groups)}
    for measures, name, colour, symbol, shift in (
        (mine, names[0], VERMILLION, "diamond", 0.17),
        (others, names[1], GREEN, "square", -0.17),
    ):
        for group in groups:
            band(fig, measures[group], rows[group] + shift, 0.12)
        points = [(measures[group].unlearned, rows[group] + shift) for group in groups if measures[group].unlearned is not None]
        fig.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 12},
            hovertemplate="%{x:.4g}",
        )
    before = [(mine[group].original, rows[group]) for group in groups if mine[group].original is not None]
    fig.add_scatter(
        x=[x for x, _ in before],
        y=[y for _, y in before],
        mode="markers",
        name="Original",
        marker={"color": ORIGINAL, "symbol": "circle-open", "size": 12, "line": {"width": 2.5}},
        hovertemplate="%{x:.4g}",
    )
    fig.update_yaxes(tickmode="array", tickvals=list(rows.values()), ticktext=groups, range=[-0.6, len(groups) - 0.4])
    return fig
