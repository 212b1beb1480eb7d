"""The form of a method, made from its declaration, and the button that submits the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from pages.parts import forms, opening, waiting
from pages.parts.backend import backend
from pages.parts.cards import card
from pages.parts.plain import plain
from pages.parts.state import Studio, run_spec
from unlearn_core import methods
from unlearn_core.errors import BadInput
from unlearn_core.runs import api, forecast
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import MAX_RETRAINS

AIMS = {"undo": "as if never seen", "misclassify": "answered wrongly"}
AIM = (
    "As if never seen: the model answers like one that was trained without them, often still right. "
    "Answered wrongly: the model gets them wrong, which is not what retraining gives."
)
DIFFERS = {
    "undo": "This method makes the model answer as if it had never seen them, and such models often still answer right.",
    "misclassify": "This method drives accuracy on them towards 0, while models trained without them get many of them right.",
}


def form(state: Studio, found: Original) -> None:
    """Method, parameters, seeds and the button; starts from what the run on screen was asked to do."""
    _start(state)
    aim = st.segmented_control("The points shall be", list(AIMS), default="undo", format_func=AIMS.get, key="aim", required=True, help=AIM)
    known = methods.suited(found.spec.model, found.task)
    last = run_spec(state.run)
    at = f".{state.run}" if last else ""
    name = st.selectbox(
        "Method",
        list(known),
        index=list(known).index(last.method) if last and last.method in known else 0,
        format_func=lambda n: known[n].title,
        key=f"method{at}",
    )
    method = known[name]
    if method.goal != aim:
        st.warning(f"You want the points {AIMS[aim]}. {DIFFERS[method.goal]}", icon=":material/warning:")
    st.caption(method.summary)
    card(method)
    if method.alpha:
        st.caption(f"**α**: {method.alpha} α values of different methods cannot be compared.")
    params = forms.fields(method.params, f"method{at}.{name}", last.params if last and last.method == name else None)
    left, right = st.columns(2)
    retrains = left.number_input(
        "Retrained models",
        0,
        MAX_RETRAINS,
        last.retrains if last else 3,
        key=f"retrains{at}",
        help="Models trained without the forget set, as the reference. At least 3 for a verdict; more make it sharper.",
    )
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, last.seed if last else 0, key=f"seed{at}", help="Draws the order of the method's batches."
    )
    if told := api.forecast(found, state.forget.ids, name, state.before):
        st.caption(told)
    _expected(state, found, name, params, seed, retrains)
    _warnings(state, found)
    count = len(state.forget)
    more = " more" if state.parent else ""
    label = f"Unlearn {count:,}{more} instance{'s' if count != 1 else ''}" if count else "Choose instances first"
    if st.button(label, type="primary", width="stretch", disabled=not count, icon=":material/ink_eraser:", key="unlearn"):
        _submit(state, found, name, params, seed, retrains)


def _start(state: Studio) -> None:
    """Which model the request starts from, where that is not the original."""
    before = state.before
    if not before:
        return
    st.caption(
        f":material/linear_scale: Request {len(before.requests) + 1}: goes on from the model of run {state.parent[:8]}, which forgot "
        f"{len(before.gone):,} instances ({methods.info(before.method).title} last)."
    )
    st.button("Start from the original", key="from.original", width="stretch", on_click=state.go_on, args=("",))


def _expected(state: Studio, found: Original, method: str, params: dict, seed: int, retrains: int) -> None:
    """What the request will take, once there is one."""
    device = opening.device_now(found)
    try:
        spec = api.request(found, state.forget.ids, method, params, seed, retrains, device, state.before)
    except BadInput:  # said when it is submitted
        return
    original = replace(found.spec, device=device)
    waiting.tell(original, lambda: forecast.unlearning(backend().store, spec, found.ids.tolist(), waiting.place(device)))


def _submit(state: Studio, found: Original, method: str, params: dict, seed: int, retrains: int) -> None:
    try:
        spec = api.request(found, state.forget.ids, method, params, seed, retrains, opening.run_device(), state.before)
    except BadInput as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    api.submit_run(backend().store, spec)
    state.show(spec.key)


def _warnings(state: Studio, found: Original) -> None:
    if found.task != "classes":
        return
    inside = np.isin(found.ids, (*state.forget.ids, *state.gone))
    labels = found.arrays["label"]
    gone = [found.meta["class_names"][c] for c in np.unique(labels[inside]) if not (labels[~inside] == c).any()]
    if gone and not inside.all():
        st.warning(
            f"This forgets every training instance of class {', '.join(gone)}. Retrained models will not know the class at all, so its test accuracy is expected to fall to zero.",
            icon=":material/warning:",
        )
