"""How the α of a run was found, where it was searched for."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.parts.blocks import chart
from unlearn_core import report
from unlearn_core.figures import tuning as tuning_figures
from unlearn_core.runs.api import Run

NOT = (
    "The score is an estimate made before any retrained model is looked at; whether the outcome is like retraining is for the evidence below to say. "
    "A value at either end means that a better one may lie outside of what was tried."
)


def show(run: Run) -> None:
    """Scores of the values that were tried, the rule and what it cost; nothing for a run whose α was given."""
    search = run.chosen.get("search")
    if not search:
        return
    trials, best = search["trials"], search["trials"][search["best"]]
    with st.expander(f"How α = {best['alpha']:.3g} was found: {len(trials)} values tried in {report.seconds(search['seconds'])}"):
        st.caption(f"{search['rule']} {NOT}")
        alt = f"Score of {len(trials)} values of α; the one chosen is {best['alpha']:.3g}"
        chart(run, "tuning", tuning_figures.scores(search), alt, pd.DataFrame(trials))
