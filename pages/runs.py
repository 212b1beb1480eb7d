"""Runs: everything that was computed here; reopen, delete, compare two."""

import pandas as pd
import streamlit as st

from pages.parts import comparing, frame, results
from pages.parts.backend import backend
from unlearn_core import methods
from unlearn_core.runs.spec import RunSpec
from unlearn_core.runs.store import Job

frame.enter()
STATES = {"queued": "waiting", "running": "running", "done": "done", "cancelled": "cancelled", "failed": "failed"}


def row(job: Job) -> dict:
    spec = RunSpec.from_dict(job.spec)
    alpha = spec.params.get("alpha")
    return {
        "state": STATES[job.status] + (" (result there, comparison under way)" if job.kind == "evidence" and not job.ended else ""),
        "made": pd.Timestamp(job.created, unit="s", tz="UTC"),
        "dataset": spec.original.dataset,
        "model": spec.original.model,
        "method": methods.info(spec.method).title,
        "α": "" if alpha is None else str(alpha),
        "instances": len(spec.forget),
        "retrained": spec.retrains,
        "device": spec.device,
        "key": job.key,
        "cause": job.cause,
    }


def delete(keys: list[str]) -> None:
    for key in keys:
        backend().store.delete(key)


st.title("Runs", anchor=False)
jobs = backend().store.jobs("run", "evidence")
if not jobs:
    st.info("No runs yet. Choose instances in the Studio and unlearn them.", icon=":material/info:")
    st.page_link("pages/studio.py", label="To the Studio", icon=":material/arrow_forward:")
    st.stop()

st.caption("Select one run to reopen it, two to compare them. Times are in your browser's time zone.")
config = {
    "made": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
    "key": st.column_config.TextColumn(help="The link to a run ends with ?run= and this key"),
}
picked = st.dataframe(pd.DataFrame([row(job) for job in jobs]), hide_index=True, column_config=config, on_select="rerun", selection_mode="multi-row", key="runs.table", alt="All runs")
chosen = [jobs[i] for i in picked["selection"]["rows"] if i < len(jobs)]
keys = [job.key for job in chosen]
with st.container(horizontal=True):
    if st.button("Reopen", type="primary", icon=":material/open_in_new:", disabled=len(chosen) != 1):
        frame.leave_for_run(keys[0])
    with st.popover("Delete", icon=":material/delete:", disabled=not chosen):
        st.write(f"Delete {len(chosen)} run{'s' if len(chosen) != 1 else ''} with all results? Links to them stop working.")
        st.button("Delete for good", on_click=delete, args=(keys,), key="delete.sure")
if len(chosen) == 2:
    first, second = (results.stored(key) for key in keys)
    if first and second:
        comparing.compare(first, second)
    else:
        st.info("A run without a result cannot be compared.", icon=":material/info:")
elif len(chosen) > 2:
    st.caption("Two runs at a time can be compared.")
