"""Two runs side by side."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.parts.blocks import CHART, VERDICTS
from unlearn_core import evidence, methods, report
from unlearn_core.figures.comparison import beside
from unlearn_core.runs.api import Run

HEADLINES = (
    "utility.accuracy",
    "utility.exact",
    "utility.error",
    "utility.loss",
    "boundary.margin",
    "boundary.agreement",
    "boundary.js",
    "boundary.apart",
    "structure.knn_overlap",
    "privacy.auc",
)


def compare(first: Run, second: Run) -> None:
    """Draw what differs between two runs; says so when they cannot be compared fairly."""
    names = [label(run, letter) for run, letter in ((first, "A"), (second, "B"))]
    st.subheader(f"{names[0]}   ·   {names[1]}", divider="gray", anchor=False)
    for warning in fairness(first, second):
        st.warning(warning, icon=":material/warning:")
    for column, run, name in zip(st.columns(2), (first, second), names, strict=True):
        said = report.summary(run)
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{name}**\n" + "\n".join(f"- {s}" for s in [*said.forgotten[1:], *said.cost, *said.sure]))
    family = st.selectbox(
        "Measure",
        [f for f in HEADLINES if all(any(m.unlearned is not None for m in run.family(f)) for run in (first, second))],
        format_func=lambda f: evidence.definition(f).title,
        key="compare.family",
    )
    st.caption(evidence.definition(family).text)
    st.plotly_chart(
        beside(first.family(family), second.family(family), names),
        key=f"compare.{family}",
        config=CHART,
        alt=f"{evidence.definition(family).title} of two runs",
    )
    found = table(first, second)
    config = {name: st.column_config.TextColumn(help=VERDICTS) for name in ("verdict A", "verdict B")}
    st.dataframe(found, hide_index=True, column_config=config, key="compare.table")
    st.download_button(
        "CSV",
        found.to_csv(index=False),
        f"compare-{first.key[:8]}-{second.key[:8]}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def label(run: Run, letter: str) -> str:
    alpha = run.chosen.get("alpha", run.spec.params.get("alpha"))
    strength = f", α = {alpha:.4g}" if isinstance(alpha, (int, float)) else ""
    return f"{letter}: {methods.info(run.spec.method).title}{strength}, seed {run.spec.seed}"


def fairness(first: Run, second: Run) -> list[str]:
    """Reasons why the two must not be compared number by number."""
    said = []
    if first.spec.original != second.spec.original:
        said.append(
            "The two runs start from different originals (dataset, model, recipe or seed): their numbers describe different models."
        )
    elif first.spec.gone != second.spec.gone:
        said.append("The two runs forget different instances, so a harder set alone can explain a difference.")
    elif first.spec.earlier != second.spec.earlier:
        said.append("The two runs forget the same instances, but in different requests; each time is that of the last request alone.")
    if methods.info(first.spec.method).goal != methods.info(second.spec.method).goal:
        said.append("The two methods pursue different goals; each is judged against its own.")
    if first.spec.device != second.spec.device:
        said.append("The two runs used different devices: their times cannot be compared.")
    return said


def table(first: Run, second: Run) -> pd.DataFrame:
    """Every measure that both runs have."""
    others = {row["id"]: row for row in report.rows(second.measures)}
    pairs = [(row, others[row["id"]]) for row in report.rows(first.measures) if row["id"] in others]
    return pd.DataFrame([
        {
            "measure": a["id"], "original": a["original"], "A": a["unlearned"], "B": b["unlearned"],
            "retrained (A)": a["retrained_mean"], "retrained (B)": b["retrained_mean"],
            "verdict A": a["verdict"], "verdict B": b["verdict"], "n": a["n"],
        }
        for a, b in pairs
    ])  # fmt: skip
