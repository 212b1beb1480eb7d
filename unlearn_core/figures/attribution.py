"""What each model's answer to one instance hangs on, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from unlearn_core.evidence.base import Measure, Retrained
from unlearn_core.figures.base import triples

MOST = 8
LONGEST = 28  # characters of a name on the axis


def heaviest(view: Mapping[str, np.ndarray], part: slice, most: int = MOST) -> np.ndarray:
    """The parts that weigh most for any of the models, in the order in which they are read."""
    size = np.abs([view[who][part] for who in ("original", "unlearned") if who in view] + [row[part] for row in view["retrained"]]).max(
        axis=0
    )
    return np.sort(np.argsort(-size, kind="stable")[:most])


def frame(view: Mapping[str, np.ndarray], part: slice, names: Sequence[str]) -> pd.DataFrame:
    """All parts of one instance as a table: original, unlearned, retrained_1 … in logits. part: the instance's place in the view's arrays."""
    columns = {who: view[who][part] for who in ("original", "unlearned") if who in view}
    columns |= {f"retrained_{k}": row[part] for k, row in enumerate(view["retrained"], 1)}
    return pd.DataFrame({"part": list(names)} | columns)


def weights(view: Mapping[str, np.ndarray], part: slice, names: Sequence[str]) -> go.Figure:
    """The heaviest parts of one instance: original, unlearned, every retrained model and the interval of one more."""
    rows = heaviest(view, part)
    measures = [_measure(view, part.start + at) for at in rows]
    shown = [names[at] if len(names[at]) <= LONGEST else f"{names[at][: LONGEST - 1]}…" for at in rows]
    fig = triples(measures, shown, x="weight for the given label (logits)", height=112 + 34 * len(rows), ends=_ends)
    fig.add_vline(x=0, line_width=1, line_dash="dot", opacity=0.6)
    return fig


def _measure(view: Mapping[str, np.ndarray], at: int) -> Measure:
    values = tuple(view["retrained"][:, at].tolist())
    low, high = (None if np.isnan(view[end][at]) else float(view[end][at]) for end in ("low", "high"))
    single = {who: float(view[who][at]) for who in ("original", "unlearned") if who in view}
    return Measure("", "", **single, retrained=Retrained(values, float(np.mean(values)), low, high) if values else None)


def _ends(measure: Measure) -> tuple[float, float] | None:
    found = measure.retrained
    return None if found is None or found.low is None else (found.low, found.high)
