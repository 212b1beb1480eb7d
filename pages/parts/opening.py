"""Choosing what is on the map: dataset, model and their settings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import streamlit as st

from pages.parts import forms, importing, jobs, waiting, weights
from pages.parts.backend import backend, original
from pages.parts.plain import plain
from pages.parts.state import Studio
from unlearn_core import data, models, projection
from unlearn_core.data import own
from unlearn_core.data.base import DatasetInfo
from unlearn_core.data.files import File, missing
from unlearn_core.errors import BadInput
from unlearn_core.params import Param
from unlearn_core.runs import api, forecast
from unlearn_core.runs.demo import default_spec
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import OriginalSpec

BUILT_IN, PUBLIC, OWN = "Built in", "Public", "Your own"
KIND, FOLLOWED = "open.kind", "open.followed"
OF_KIND = {BUILT_IN: "open.dataset", PUBLIC: "open.public", OWN: "open.own"}


@dataclass(frozen=True)
class Entry:
    """One choice of data. key: of an import, "" for datasets that the app knows. kept: the import, None where there is none (any more)."""

    info: DatasetInfo
    title: str
    key: str = ""
    kept: own.Kept | None = None

    @property
    def name(self) -> str:
        return f"{self.info.name}.{self.key}" if self.key else self.info.name

    @property
    def params(self) -> tuple[Param, ...]:
        """What a person can set; which import it is was chosen already."""
        return tuple(param for param in self.info.params if param is not own.KEY)


def choose_original(state: Studio) -> None:
    """The sidebar: which dataset and model are open. Switching is explicit, so that nothing is lost by a slip."""
    with st.sidebar:
        st.subheader("Data and model")
        entry = _choose(state)
        if entry:
            _settings(state, entry)
    importing.draw(lambda kept: _open_kept(state, kept), lambda key, told: _left(state, key, told))


def _choose(state: Studio) -> Entry | None:
    """Bundled, public and own data, one kind at a time. Whenever another original is open, the choice follows it."""
    entries = _entries(state)
    now = state.spec.dataset, state.spec.dataset_params.get(own.KEY.name, "")
    if st.session_state.get(FOLLOWED) != state.spec.key or KIND not in st.session_state:
        st.session_state[FOLLOWED] = state.spec.key
        st.session_state[KIND] = kind = next(kind for kind, found in entries.items() if now in found)
        st.session_state[OF_KIND[kind]] = entries[kind][now].name
    kind = st.segmented_control("Data", list(entries), key=KIND, required=True, width="stretch", label_visibility="collapsed")
    found = {entry.name: entry for entry in entries[kind].values()}
    entry = None
    if found:
        if st.session_state.get(OF_KIND[kind]) not in found:
            st.session_state[OF_KIND[kind]] = entries[kind][now].name if now in entries[kind] else next(iter(found))
        titles = {name: _label(entry, found.values()) for name, entry in found.items()}
        entry = found[st.selectbox("Dataset", list(found), format_func=titles.get, key=OF_KIND[kind])]
    elif kind == OWN:
        st.caption("A table, texts or pictures of your own: CSV, TSV, Parquet, JSONL, NPZ, NPY, or a zip of class folders.")
    if kind == OWN:
        st.button("Use your own data", icon=":material/upload_file:", key="import.begin", width="stretch", on_click=importing.begin)
    return entry


def _entries(state: Studio) -> dict[str, dict[tuple[str, str], Entry]]:
    """By kind, then by dataset and key of the import."""
    known = data.registry()
    found = {kind: {} for kind in OF_KIND}
    for info in known.values():
        if info.name not in own.NAMES.values():
            found[PUBLIC if info.files else BUILT_IN][info.name, ""] = Entry(info, info.title)
    for kept in own.kept():
        found[OWN][kept.name, kept.key] = Entry(known[kept.name], kept.title, kept.key, kept)
    name, key = state.spec.dataset, state.spec.dataset_params.get(own.KEY.name, "")
    if name in own.NAMES.values() and (name, key) not in found[OWN]:
        shown = original(state.spec.key)
        found[OWN][name, key] = Entry(known[name], f"{shown.meta['title'] if shown else known[name].title} (deleted)", key)
    return found


def _label(entry: Entry, others: Iterable[Entry]) -> str:
    """The title, and what tells it from others of the same title, or what it costs to get it."""
    gone = missing(entry.info.files)
    if gone and all(file.addresses for file in gone):
        return f"{entry.title} ↓ {_megabytes(gone)}"
    alike = sum(other.title == entry.title for other in others) > 1
    return f"{entry.title} ({entry.key[:4]})" if alike else entry.title


def _megabytes(files: Iterable[File]) -> str:
    total = sum(file.megabytes for file in files)
    return f"{total:.0f} MB" if total >= 10 else f"{max(total, 0.1):.1f} MB"


def _settings(state: Studio, entry: Entry) -> None:
    """Model, settings and the button for one entry, and what is to know about it."""
    info = entry.info
    same_data = (info.name, entry.key) == (state.spec.dataset, state.spec.dataset_params.get(own.KEY.name, ""))
    if entry.info.name in own.NAMES.values() and not entry.kept:
        st.caption("The imported data was deleted. What is on screen stays, but nothing new can be computed from it.")
        importing.offer_deletion(entry.key, "Delete what was made from it")
        return
    suited = models.suited(info)
    usual = state.spec.model if same_data and state.spec.model in suited else info.default_model
    model = st.selectbox(
        "Model", list(suited), index=list(suited).index(usual), format_func=lambda m: suited[m].title, key=f"open.model.{entry.name}"
    )
    slot = st.container()  # the button belongs right here, yet depends on what follows
    st.caption(_about(entry))
    same_model = same_data and model == state.spec.model
    with st.expander("Dataset settings"):
        dataset_params = forms.fields(
            entry.params, f"open.{state.spec.key}.{entry.name}", state.spec.dataset_params if same_data else None, advanced="Seeds"
        )
    suiting = info.model_params if model == info.default_model else None
    with st.expander("Training recipe"):
        model_params = forms.fields(
            suited[model].params, f"open.{state.spec.key}.{entry.name}.{model}", state.spec.model_params if same_model else suiting
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
        wanted = OriginalSpec.make(info.name, model, dataset_params | _which(entry), model_params, seed, state.spec.device)
    except BadInput as error:
        st.error(plain(str(error)))
        return
    wanted, ready = weights.choose(wanted, state.spec, f"open.{state.spec.key}.{entry.name}.{model}")
    weights.about(state.spec)
    ready = _usable(wanted) and ready
    if wanted.key != state.spec.key:  # the device alone makes no other original
        wanted = replace(wanted, device=_device(state))
        slot.button(
            f"Open {plain(entry.title)}",
            type="primary",
            width="stretch",
            disabled=not ready,
            on_click=state.open,
            args=(wanted,),
            help="Opens this dataset and model; the points chosen now are kept as a saved set.",
        )
        if not original(wanted.key) and not wanted.weights:
            with slot:
                waiting.tell(
                    wanted, lambda: forecast.opening(backend().store, wanted, waiting.place(wanted.device)), not missing(info.files)
                )
    _sources(state, entry, same_data)


def _usable(wanted: OriginalSpec) -> bool:
    """Whether the architecture can be used here, after saying why not, and what every result of it carries."""
    info = models.info(wanted.model)
    if info.caution:
        st.caption(info.caution)
    reason = info.lacks(wanted.model_params) if info.lacks else ""
    if reason:
        st.warning(reason, icon=":material/extension_off:")
    elif info.prepare and wanted.model_params.get("file") == "":
        st.caption(
            ":material/download: Opening it downloads the encoder's weights, unless they are here already or a file is named in the recipe."
        )
    return not reason


def _which(entry: Entry) -> dict[str, str]:
    return {own.KEY.name: entry.key} if entry.key else {}


def _about(entry: Entry) -> str:
    """What it is, and whether opening it takes a download."""
    if entry.kept:
        return f"{entry.info.title}: {entry.kept.instances:,} instances of {entry.kept.classes:,} classes. {entry.info.description}"
    where, gone = "", missing(entry.info.files)
    if gone and not all(file.addresses for file in gone):
        where = "  \n:material/folder_open: Not on this machine, and not offered for download: opening it says where to put the file."
    elif gone and os.environ.get("UNLEARN_OFFLINE") == "1":
        where = "  \n:material/cloud_off: Not on this machine, and UNLEARN_OFFLINE forbids downloads."
    elif gone:
        where = f"  \n:material/download: Downloads {_megabytes(gone)} on opening."
    elif entry.info.files:
        where = "  \n:material/check: On this machine already."
    return f"{entry.info.description}{where}"


def _sources(state: Studio, entry: Entry, same_data: bool) -> None:
    """Citation, licence, what was done to the data, and deleting it where it is one's own."""
    citation = f"{entry.info.citation} " if entry.info.citation else ""
    st.caption(f"{citation}Licence: {entry.info.licence}.")
    shown = original(state.spec.key) if same_data else None
    notes = shown.meta.get("notes", ()) if shown else entry.kept.notes if entry.kept else ()
    if notes:
        with st.expander("What was done to the data"):
            st.markdown("\n".join(f"- {plain(note)}" for note in notes))
    if entry.kept:
        importing.offer_deletion(entry.key)


def _open_kept(state: Studio, kept: own.Kept) -> None:
    """Put data that was imported just now on screen."""
    state.open(OriginalSpec.make(kept.name, None, {own.KEY.name: kept.key}, device=_device(state)))


def _left(state: Studio, key: str, told: str) -> None:
    """Leave data that was deleted just now with everything made from it."""
    if state.spec.dataset_params.get(own.KEY.name) == key:
        state.open(default_spec(device=_device(state)))
    state.notice = told


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

    Once it is trained it is shown on its PCA layout; UMAP, or PaCMAP for many instances, is offered when it is there, and the map does not
    change by itself.
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
            f"the {projection.TITLES[projection.automatic(len(found.ids))]} layout" if found else "the original model",
            again,
            curves=not found,
            result=lambda: original(job.key) is not None,
            expected=lambda: forecast.opening(store, state.spec, waiting.place(state.spec.device)),
        )
    return found
