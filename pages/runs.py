"""Runs: everything that was computed here; reopen, delete, compare two."""

import pandas as pd
import streamlit as st

from pages.parts import comparing, frame, results
from pages.parts.backend import backend
from pages.parts.plain import plain
from pages.parts.state import readable, run_spec
from unlearn_core import data, methods
from unlearn_core.errors import BadInput
from unlearn_core.runs import api
from unlearn_core.runs.spec import RunSpec
from unlearn_core.runs.store import Job

frame.enter()
STATES = {"queued": "waiting", "running": "running", "done": "done", "cancelled": "cancelled", "failed": "failed"}
NAMED = 10  # runs that are named before they are deleted


def table(jobs: list[Job]) -> pd.DataFrame:
    rows = [row(job, readable(job)) for job in jobs]
    return pd.DataFrame(rows).astype({"instances": "Int64", "request": "Int64", "retrained": "Int64"})


def row(job: Job, spec: RunSpec | None) -> dict:
    state = STATES[job.status] + (" (result there, comparison under way)" if job.kind == "evidence" and not job.ended else "")
    alpha = spec.params.get("alpha") if spec else None
    return {
        "state": state if spec else "made by another version",
        "made": pd.Timestamp(job.created, unit="s", tz="UTC"),
        "dataset": spec and data.title(spec.original.dataset, spec.original.dataset_params),
        "model": spec and spec.original.model,
        "method": spec and methods.info(spec.method).title,
        "α": "" if alpha is None else str(alpha),
        "instances": spec and len(spec.gone),
        "request": spec and len(spec.requests),
        "retrained": spec and spec.retrains,
        "device": spec and spec.device,
        "key": job.key,
        "cause": job.cause,
    }


def delete(keys: list[str]) -> None:
    """Later requests go first, since they need the earlier ones."""
    store = backend().store
    for key in sorted(keys, key=_requests, reverse=True):
        try:
            api.delete_run(store, key)
        except BadInput as error:
            st.session_state["runs.refused"] = str(error)


def _requests(key: str) -> int:
    spec = run_spec(key)
    return len(spec.requests) if spec else 0


st.title("Runs", anchor=False)
if refused := st.session_state.pop("runs.refused", None):
    st.error(plain(refused), icon=":material/error:")
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
listed = hash(tuple(job.key for job in jobs))  # a selection is of row numbers, so it must not outlive the list
picked = st.dataframe(
    table(jobs), hide_index=True, column_config=config, on_select="rerun", selection_mode="multi-row", key=f"runs.{listed}", alt="All runs"
)
chosen = [jobs[i] for i in picked["selection"]["rows"] if i < len(jobs)]
if len(chosen) == 2:
    st.query_params["compare"] = ",".join(job.key for job in chosen)  # so that the address leads back to the comparison
elif not chosen:
    linked = st.query_params.get("compare", "").split(",")
    chosen = [job for key in linked for job in jobs if job.key == key]
keys = [job.key for job in chosen]
with st.container(horizontal=True):
    if st.button("Reopen", type="primary", icon=":material/open_in_new:", disabled=len(chosen) != 1):
        frame.leave_for_run(keys[0])
    with st.popover("Delete", icon=":material/delete:", disabled=not chosen):
        st.write(f"Delete {len(chosen)} run{'s' if len(chosen) != 1 else ''} with all results? Links to them stop working.")
        names = [f"{plain(job.title)} ({job.key[:8]})" for job in chosen[:NAMED]]
        st.markdown("\n".join(f"- {name}" for name in [*names, *([f"and {len(chosen) - NAMED} more"] if len(chosen) > NAMED else [])]))
        st.button("Delete for good", on_click=delete, args=(keys,), key="delete.sure")
if len(chosen) == 2:
    first, second = (results.stored(job.key) if readable(job) else None for job in chosen)
    if first and second:
        comparing.compare(first, second)
    else:
        st.info("A run without a result, or made by another version, cannot be compared.", icon=":material/info:")
    st.caption("The address of this page is a link to this comparison.")
elif len(chosen) > 2:
    st.caption("Two runs at a time can be compared.")
