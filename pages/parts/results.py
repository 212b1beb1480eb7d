"""Everything about the run on screen: progress, the summary in plain words, then the evidence."""

from __future__ import annotations

import streamlit as st

from pages.parts import gallery, jobs, pooling, sections, tuning, waiting
from pages.parts.backend import backend, original
from pages.parts.plain import plain
from pages.parts.remembering import remembered
from pages.parts.sections import shown
from pages.parts.state import Studio, readable
from unlearn_core import methods, report
from unlearn_core.runs import api, forecast
from unlearn_core.runs.api import Run
from unlearn_core.runs.forecast import Forecast
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import RunSpec
from unlearn_core.runs.store import Job


def progress(key: str) -> None:
    """The job of a run while it is under way, or why it ended without a result."""
    store = backend().store
    job = store.job(key)
    if job is None or job.status == "done":
        return
    has_result = grown(key) is not None
    what = "the retrained models for comparison" if has_result else "unlearning"
    jobs.panel(
        job.key,
        waiting_for=what,
        again=lambda: _again(job),
        curves=not has_result,
        result=lambda: grown(key),
        expected=lambda: _expected(job),
    )


def _expected(job: Job) -> Forecast:
    spec = readable(job)
    found = original(spec.original.key) if spec else None
    return forecast.unlearning(backend().store, spec, found.ids.tolist(), waiting.place(spec.device)) if found else jobs.NOTHING_KNOWN


def pointer(key: str) -> None:
    """A way down to the evidence, which may lie below the fold."""
    if grown(key) is not None:
        st.markdown(":material/arrow_downward: [See what changed](#what-changed)")


def _again(job: Job) -> None:
    api.submit_run(backend().store, RunSpec.from_dict(job.spec))


@remembered(8, st.cache_data)
def _load(key: str, changed: int) -> Run | None:
    return api.load_run(backend().store, key)


def stored(key: str) -> Run | None:
    """The run's evidence as far as it is there; read anew whenever it grew."""
    changed = grown(key)
    return None if changed is None else _load(key, changed)


def grown(key: str) -> int | None:
    """When the run's evidence last changed; None before the first."""
    path = backend().store.place("runs", key) / "evidence.npz"
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def show(state: Studio, found: Original) -> None:
    """The evidence of the run on screen as far as it is there."""
    run = stored(state.run)
    if run is None:
        return
    audit = pooling.audit(run, found)
    run = api.audited(run, audit) if audit else run
    count, method = len(run.spec.gone), methods.info(run.spec.method)
    several = f" in {len(run.spec.requests)} requests" if run.spec.parent else ""
    title, further = st.columns([3, 1], vertical_alignment="bottom")
    title.subheader(f"What changed: {count:,} instance{'s' if count != 1 else ''}{several}, {method.title}", anchor="what-changed")
    further.button(
        "Go on from here",
        icon=":material/linear_scale:",
        key="go_on",
        width="stretch",
        disabled=state.parent == run.key,
        help="The next request starts from this unlearned model instead of the original, as later deletions do in practice. What it forgot cannot be chosen again, "
        "and the evidence then covers all requests together.",
        on_click=state.go_on,
        args=(run.key,),
    )
    summary(run)
    gallery.strip(found, run.spec.forget, "What was forgotten")
    tuning.show(run)
    names = shown(run)
    if st.session_state.get("section") not in names:  # of a run before, which had more
        st.session_state.pop("section", None)
    section = st.segmented_control("Evidence", names, default="Utility", key="section", required=True, label_visibility="collapsed")
    sections.draw(section, run, found)
    st.caption(f"Run {run.key}. The address of this page is a link to it.")


def summary(run: Run) -> None:
    """What a decision maker reads first."""
    said = report.summary(run)
    parts = (
        (":material/ink_eraser: What was asked", [plain(sentence) for sentence in said.forgotten]),
        (":material/payments: What it cost", said.cost),
        (":material/fact_check: How sure we are", said.sure),
        (":material/policy_alert: What this does not prove", said.limits),
    )
    for pair in (parts[:2], parts[2:]):
        for column, (title, sentences) in zip(st.columns(2), pair, strict=True):
            with column.container(border=True, height="stretch"):
                st.markdown(f"**{title}**")
                st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
