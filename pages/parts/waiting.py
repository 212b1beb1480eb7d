"""How long something will take, before it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts.backend import backend
from unlearn_core.runs import durations, forecast
from unlearn_core.runs.forecast import Forecast
from unlearn_core.runs.spec import OriginalSpec

EVERY = 1.0
HELP = (
    "Expected while nothing else needs this machine, from times measured on it: of the same thing where it ran before (the median of all times), "
    "else of a few training steps tried just now, else scaled from runs of another size. Times of another device or machine are never used. "
    "A training scales by instances × epochs, a method by instances or by what one training takes, evidence by instances × models."
)


def place(device: str) -> str:
    """What measured times must belong to, for this device of the worker."""
    return durations.where(device, backend().service.devices().get(device, ""))


def tell(spec: OriginalSpec, made: Callable[[], Forecast], probe: bool = True) -> None:
    """One line with the forecast that `made` gives. Where it lacks what a training takes, a few steps are tried in the worker, unless `probe` is False."""
    store, here = backend().store, place(spec.device)
    job = forecast.submit_probe(store, spec, here) if probe and not forecast.tried(store, spec, here) else None
    ended: list[str] = []  # what to say from then on

    # It never reruns the page: that could cut off a gesture's own run. It ticks on until the next one, with nothing left to read.
    @st.fragment(run_every=EVERY if job is not None and not job.ended else None)
    def draw() -> None:
        now = store.job(job.key) if job and not ended else None
        if now and now.status == "queued":
            said = "How long it takes is measured as soon as the worker is free."
        elif now and now.status == "running":
            said = "Measuring how long it takes …"
        else:
            ended[:] = ended or [made().words]
            said = ended[0]
        st.caption(f":material/timer: {said}", help=HELP)

    draw()
