"""Progress of a job: stage, fraction, live curves, cancel; redrawn by itself while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from pages.parts.backend import backend
from pages.parts.plain import plain
from unlearn_core.figures.progress import curves as curves_figure
from unlearn_core.runs import api
from unlearn_core.runs.forecast import Forecast, duration
from unlearn_core.runs.progress import read_mark
from unlearn_core.runs.store import Job

EVERY = 0.25
NOTHING_KNOWN = Forecast(())


def panel(
    key: str,
    waiting_for: str,
    again: Callable[[], object],
    curves: bool = True,
    result: Callable[[], object] = lambda: None,
    expected: Callable[[], Forecast] = lambda: NOTHING_KNOWN,
) -> None:
    """Draw one job until it ends, then the whole page once more, and each time `result()` changes on the way.

    `again` restarts a job that failed or was cancelled. `expected`: what the job was expected to take, stage by stage.
    """
    job = backend().store.job(key)
    live = job is not None and not job.ended
    before = result()
    told = expected() if live else NOTHING_KNOWN

    @st.fragment(run_every=EVERY if live else None)
    def draw() -> None:
        now = backend().store.job(key)
        if now is None:
            st.info("This job was deleted.", icon=":material/info:")
            return
        if live and (now.ended or result() != before):
            st.rerun()
        if now.status in ("queued", "running"):
            _running(now, waiting_for, curves, told)
        elif now.status == "cancelled":
            st.info(f"Cancelled: {waiting_for}.", icon=":material/cancel:")
            _restart(key, again)
        elif now.status == "failed":
            st.error(plain(now.cause), icon=":material/error:")
            _restart(key, again)

    draw()


def _restart(key: str, again: Callable[[], object]) -> None:
    if st.button("Start again", key=f"again.{key}"):
        again()
        st.rerun()


def _left(job: Job, told: Forecast) -> str:
    """How long the job still takes, or its stage where nobody knows what comes after; "" while nothing can be said."""
    if job.status != "running":
        return ""
    now, seen = time.time(), f"seen.{job.key}"
    at = job.stage, job.fraction
    if st.session_state.get(seen, (None, 0.0))[0] != at:
        st.session_state[seen] = at, now
    left = told.left(job, read_mark(backend().store, job.key), st.session_state[seen][1], now)
    if left is None:
        return ""
    seconds, all_of_it = left
    return f" · about {duration(max(seconds, 1.0))} left" + ("" if all_of_it else " of this step")


def _running(job: Job, waiting_for: str, curves: bool, told: Forecast) -> None:
    place = st.container(horizontal=True, wrap=False, vertical_alignment="center")
    ahead = "waiting for its turn" if job.status == "queued" else job.stage or "starting"
    place.progress(min(max(job.fraction, 0.0), 1.0), text=f"{waiting_for[:1].upper()}{waiting_for[1:]}: {ahead}{_left(job, told)}")
    asked = job.cancel is not None
    place.button(
        "Ending …" if asked else "Cancel",
        key=f"cancel.{job.key}",
        disabled=asked,
        width="content",
        on_click=backend().store.cancel,
        args=(job.key,),
    )
    points = api.curves(backend().store, job.key) if curves else []
    if len(points) > 1:
        st.plotly_chart(curves_figure(points), key=f"curves.{job.key}", config={"displayModeBar": False})
