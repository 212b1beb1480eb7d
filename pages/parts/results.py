"""Everything about the run on screen: progress, then the evidence."""

from __future__ import annotations

import streamlit as st

from pages.parts import jobs
from pages.parts.backend import backend
from pages.parts.state import Studio
from unlearn_core import report
from unlearn_core.runs import api
from unlearn_core.runs.originals import Original


def show(state: Studio, found: Original) -> None:
    """Progress of the run on screen, or its evidence as far as it is there."""
    store = backend().store
    job, run = store.job(state.run), api.load_run(store, state.run)
    st.subheader("What changed", divider="gray", anchor="what-changed")
    if job and (run is None or not job.ended):
        what = "the retrained models for comparison" if run else "unlearning"
        jobs.panel(job.key, waiting_for=what, again=lambda: api.submit_run(store, api.RunSpec.from_dict(job.spec)), curves=run is None)
    if run:
        said = report.summary(run)
        st.write(said)
        st.dataframe(report.rows(run.measures))
