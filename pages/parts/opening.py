"""Choosing what is on the map: dataset, model and their settings."""

from __future__ import annotations

from dataclasses import asdict, replace

import streamlit as st

from pages.parts import forms, jobs
from pages.parts.backend import backend, original
from pages.parts.plain import plain
from pages.parts.state import Studio
from unlearn_core import data, models
from unlearn_core.errors import BadInput
from unlearn_core.runs import api
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import OriginalSpec


def choose_original(state: Studio) -> None:
    """The sidebar: which dataset and model are open. Switching is explicit, so that nothing is lost by a slip."""
    known = data.registry()
    with st.sidebar:
        st.subheader("Data and model")
        name = st.selectbox(
            "Dataset", list(known), index=list(known).index(state.spec.dataset), format_func=lambda n: known[n].title, key="open.dataset"
        )
        info = known[name]
        suited = models.suited(info)
        usual = state.spec.model if state.spec.dataset == name and state.spec.model in suited else info.default_model
        model = st.selectbox(
            "Model", list(suited), index=list(suited).index(usual), format_func=lambda m: suited[m].title, key=f"open.model.{name}"
        )
        slot = st.container()  # the button belongs right here, yet depends on what follows
        st.caption(info.description)
        same_data = name == state.spec.dataset
        same_model = same_data and model == state.spec.model
        with st.expander("Dataset settings"):
            dataset_params = forms.fields(
                info.params, f"open.{state.spec.key}.{name}", state.spec.dataset_params if same_data else None, advanced="Seeds"
            )
        with st.expander("Training recipe"):
            model_params = forms.fields(
                suited[model].params, f"open.{state.spec.key}.{name}.{model}", state.spec.model_params if same_model else None
            )
            seed = st.number_input(
                "Training seed",
                0,
                2**31 - 1,
                state.spec.seed,
                key=f"open.{state.spec.key}.seed",
                help="Draws the first weights and the order of the batches.",
            )
        try:
            wanted = OriginalSpec.make(name, model, dataset_params, model_params, seed, state.spec.device)
        except BadInput as error:
            st.error(plain(str(error)))
            return
        if wanted.key != state.spec.key:  # the device alone makes no other original
            wanted = replace(wanted, device=_device(state))
            slot.button(
                f"Open {info.title}",
                type="primary",
                width="stretch",
                on_click=state.open,
                args=(wanted,),
                help="Opens this dataset and model; the points chosen now are kept as a saved set.",
            )
        st.caption(f"{info.citation} Licence: {info.licence}.")


def _device(state: Studio) -> str:
    """The device for a new original."""
    chosen = st.session_state.get("device", "auto")
    devices = backend().service.devices()
    if chosen == "auto":
        return state.spec.device if not devices else next(iter(devices))
    return chosen


def device_field() -> None:
    """Show the device in use and let the person choose another one; waits for the worker by itself."""
    service = backend().service
    starting = not service.devices()

    @st.fragment(run_every=1.0 if starting else None)
    def draw() -> None:
        found = service.devices()
        if not found:
            st.caption(":material/hourglass_top: The worker is starting …")
        elif starting:
            st.rerun()
        else:
            names = {"auto": f"automatic ({next(iter(found))})"} | {name: f"{name}: {text}" for name, text in found.items()}
            st.selectbox(
                "Device",
                list(names),
                format_func=names.get,
                key="device",
                help="Where unlearning and retraining run. Results are repeatable on one device.",
            )

    draw()


def device_now(found: Original) -> str:
    """The device for background work on this original, as far as it is known without waiting for the worker."""
    devices, chosen = backend().service.devices(), st.session_state.get("device", "auto")
    return chosen if chosen in devices else next(iter(devices), found.spec.device)


def run_device() -> str:
    """The device for the next run; waits for the worker's first word if it only just started."""
    found = backend().service.devices(patience=15)
    chosen = st.session_state.get("device", "auto")
    if chosen in found:
        return chosen
    return next(iter(found), "cpu")


def opened(state: Studio) -> Original | None:
    """The open original, or None after drawing the progress of its preparation.

    Once it is trained it is shown on its PCA layout; UMAP is offered when it is there, and the map does not change by itself.
    """
    store, found = backend().store, original(state.spec.key)
    if found and found.complete:
        return found
    job = store.job(state.spec.key)
    if job is None or job.status == "done":  # done without a result: its files were removed by hand
        job = api.submit_original(store, state.spec)
    if job is None:
        return original(state.spec.key)

    def again() -> None:
        store.submit(job.key, "original", asdict(state.spec), job.title)

    with st.sidebar if found else st.container():
        jobs.panel(
            job.key,
            "the UMAP layout" if found else "the original model",
            again,
            curves=not found,
            result=lambda: original(job.key) is not None,
        )
    return found
