"""One block of evidence: title, chart, definition, what is missing and why, table and CSV behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from unlearn_core import evidence, report
from unlearn_core.evidence.base import Measure
from unlearn_core.figures.base import label, triples
from unlearn_core.runs.api import Run

CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
VERDICTS = (
    "like retrained: the original lay outside the retrained interval and the unlearned model lies inside. "
    "still different: both lie outside. moved away: the original lay inside, the unlearned model does not. "
    "cannot tell: both lie inside, so this measure cannot show forgetting."
)


def block(run: Run, family: str, fig: go.Figure | None = None, note: str = "", data: pd.DataFrame | None = None) -> None:
    """Everything about one family of measures. fig: the plain triples if left out; data: see `chart`."""
    known, measures = evidence.definition(family), run.family(family)
    st.markdown(f"##### {known.title}")
    most = evidence.registry()[family.split(".")[0]].most
    few = f"Compared with the first {most} of {run.retrained} retrained models." if most and run.retrained > most else ""
    source = f"Source: {known.source}." if known.source else ""
    st.caption(" ".join(text for text in (known.text, source, note, few) if text))
    shown = [m for m in measures if m.unlearned is not None]
    if fig is None and shown:
        fig = triples(shown, [label(m) for m in shown], x=known.unit)
    if fig is not None:
        chart(run, family, fig, f"{known.title}: original, unlearned and retrained values", data)
    missing(measures)
    refused(measures)
    with st.expander(f"Table: {known.title}"):
        table(measures, f"{run.key}.{family}")


def chart(run: Run, name: str, fig: go.Figure, alt: str, data: pd.DataFrame | None = None) -> None:
    """A chart, and below it the numbers that it draws, where the tables of measures do not hold them."""
    st.plotly_chart(fig, key=f"{run.key}.{name}", config=CHART, alt=alt)
    if data is None or data.empty:
        return
    with st.expander("Numbers"):
        st.dataframe(data, hide_index=True, key=f"numbers.{run.key}.{name}", height="content" if len(data) <= 10 else 300)
        st.download_button(
            "CSV",
            lambda: data.to_csv(index=False),
            f"{run.key[:8]}-{name}.csv",
            "text/csv",
            key=f"numbers.csv.{run.key}.{name}",
            icon=":material/download:",
            on_click="ignore",
        )


def numbers(view: Mapping[str, np.ndarray], by: str) -> pd.DataFrame:
    """The arrays of a view that are as long as `by`, one column each; `retrained` [k, n] becomes retrained_1 to retrained_k."""
    columns = {}
    for name, array in view.items():
        if np.shape(array) == (len(view[by]),):
            columns[name] = array
        elif name == "retrained":
            columns |= {f"retrained_{k}": row for k, row in enumerate(array, 1)}
    return pd.DataFrame(columns)


def missing(measures: list[Measure]) -> None:
    """Reasons in place of the numbers that were not computed."""
    for reason in dict.fromkeys(m.reason for m in measures if m.unlearned is None and m.reason):
        groups = ", ".join(dict.fromkeys(m.group for m in measures if m.unlearned is None and m.reason == reason))
        st.caption(f":material/do_not_disturb_on: Not computed ({groups}): {reason}.")


def refused(measures: list[Measure]) -> None:
    """Why verdicts are refused where the numbers themselves are there."""
    for reason in dict.fromkeys(m.refused for m in measures if m.refused):
        groups = ", ".join(dict.fromkeys(m.group for m in measures if m.refused == reason))
        st.caption(f":material/block: No verdict ({groups}): {reason}.")


def table(measures: list[Measure], key: str) -> None:
    """The measures as a table with a CSV download."""
    rows = report.rows(measures)
    frame = pd.DataFrame(rows)
    if frame.empty:
        return
    shown = [
        "group",
        "original",
        "unlearned",
        "retrained_mean",
        "retrained_low",
        "retrained_high",
        "verdict",
        "n",
        "reliability",
        "reason",
        "refused",
    ]
    config = {name: st.column_config.NumberColumn(format="%.4g") for name in shown[1:6]}
    config |= {
        "retrained_low": st.column_config.NumberColumn(
            "retrained from", format="%.4g", help="95 % t prediction interval for one further retrained model"
        ),
        "retrained_high": st.column_config.NumberColumn("to", format="%.4g"),
        "retrained_mean": st.column_config.NumberColumn("retrained", format="%.4g", help="Mean over the retrain seeds"),
        "verdict": st.column_config.TextColumn(help=VERDICTS),
        "refused": st.column_config.TextColumn(
            "no verdict because", help="Too few instances for this measure to judge a model by; the number says how many would suffice"
        ),
    }
    st.dataframe(frame[shown], hide_index=True, column_config=config, key=f"table.{key}", height="content")
    st.download_button(
        "CSV", report.to_csv(rows), f"{key}.csv", "text/csv", key=f"csv.{key}", icon=":material/download:", on_click="ignore"
    )


def by_id(view: dict[str, np.ndarray]) -> pd.DataFrame:
    """`numbers` by instance."""
    return numbers(view, "ids").rename(columns={"ids": "id"})


def part(view: dict[str, np.ndarray], short: Callable[[str], str]) -> dict[str, np.ndarray]:
    """The part of a view whose names `short` shortens, under the short names."""
    return {short(name): array for name, array in view.items() if short(name) != name}
