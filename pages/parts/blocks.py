"""One block of evidence: title, chart, definition, what is missing and why, table and CSV behind it."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from unlearn_core import evidence, report
from unlearn_core.evidence.base import Measure
from unlearn_core.runs.api import Run

CHART = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
MARKS = {True: "inside", False: "outside", None: "–"}


def block(run: Run, family: str, fig: go.Figure | None = None, note: str = "") -> None:
    """Everything about one family of measures. fig is left out where there is nothing to draw."""
    known, measures = evidence.definition(family), run.family(family)
    st.markdown(f"##### {known.title}")
    st.caption(f"{known.text}{f' Source: {known.source}.' if known.source else ''}{f' {note}' if note else ''}")
    if fig is not None:
        chart(run, family, fig, f"{known.title}: original, unlearned and retrained values")
    missing(measures)
    with st.expander(f"Table: {known.title}"):
        table(measures, f"{run.key}.{family}")


def chart(run: Run, name: str, fig: go.Figure, alt: str) -> None:
    st.plotly_chart(fig, key=f"{run.key}.{name}", config=CHART, alt=alt)


def missing(measures: list[Measure]) -> None:
    """Reasons in place of the numbers that were not computed."""
    for reason in dict.fromkeys(m.reason for m in measures if m.unlearned is None and m.reason):
        groups = ", ".join(m.group for m in measures if m.unlearned is None and m.reason == reason)
        st.caption(f":material/do_not_disturb_on: Not computed ({groups}): {reason}.")


def table(measures: list[Measure], key: str) -> None:
    """The measures as a table with a CSV download."""
    rows = report.rows(measures)
    frame = pd.DataFrame(rows)
    if frame.empty:
        return
    frame["inside"] = frame["inside"].map(MARKS.get)
    shown = ["group", "original", "unlearned", "retrained_mean", "retrained_low", "retrained_high", "inside", "n", "reliability", "reason"]
    config = {name: st.column_config.NumberColumn(format="%.4g") for name in shown[1:6]}
    config |= {
        "retrained_low": st.column_config.NumberColumn("retrained from", format="%.4g", help="95 % t prediction interval for one further retrained model"),
        "retrained_high": st.column_config.NumberColumn("to", format="%.4g"),
        "retrained_mean": st.column_config.NumberColumn("retrained", format="%.4g", help="Mean over the retrain seeds"),
        "inside": st.column_config.TextColumn("verdict", help="Whether the unlearned value lies where one further retrained model would be expected"),
    }
    st.dataframe(frame[shown], hide_index=True, column_config=config, key=f"table.{key}", height="content")
    st.download_button("CSV", report.to_csv(rows), f"{key}.csv", "text/csv", key=f"csv.{key}", icon=":material/download:", on_click="ignore")
