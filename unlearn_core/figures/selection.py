"""Chart of what is chosen to be forgotten."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from unlearn_core.figures.base import figure
from unlearn_core.figures.palette import VERMILLION


def classes(labels: np.ndarray, chosen: np.ndarray, class_names: tuple[str, ...]) -> go.Figure:
    """Share of each class that is chosen.

    labels [n]: classes of the training instances; chosen [n]: booleans; class_names: their names.
    """
    total = np.bincount(labels, minlength=len(class_names))
    count = np.bincount(labels[chosen], minlength=len(class_names))
    fig = figure(x="class", y="share chosen", height=190, legend=False)
    fig.add_bar(
        x=list(class_names),
        y=count / np.maximum(total, 1),
        text=[f"{c:,}" if c else "" for c in count],
        textposition="outside",
        cliponaxis=False,
        customdata=np.stack([count, total], axis=-1),
        hovertemplate="%{x}: %{customdata[0]:,} of %{customdata[1]:,} chosen<extra></extra>",
        marker={"color": VERMILLION},
    )
    top = max(float((count / np.maximum(total, 1)).max()) * 1.2, 0.01)
    fig.update_xaxes(type="category")
    return fig.update_yaxes(tickformat=".0%" if top > 0.05 else ".1%", range=[0, top])
