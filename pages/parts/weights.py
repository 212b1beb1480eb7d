"""Weights of one's own for the original model: give a file, see whether they fit, delete them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from pages.parts import jobs
from pages.parts.backend import backend, original
from pages.parts.importing import HERE, MOST_MEGABYTES
from pages.parts.plain import plain
from unlearn_core.data import own
from unlearn_core.errors import BadInput
from unlearn_core.runs import weights
from unlearn_core.runs.spec import OriginalSpec

TOLD = "weights.told"  # why the last file was not kept


def choose(spec: OriginalSpec, open_now: OriginalSpec, key: str) -> tuple[OriginalSpec, bool]:
    """The spec with the weights that were chosen for it, and whether it can be opened so. open_now: the original on screen; key: of the widgets."""
    store = backend().store
    same = open_now.model == spec.model and _data(open_now) == _data(spec)
    start = open_now.weights if same else ""
    field = f"{key}.weights"
    kept = {item.key: item for item in weights.kept(store)}
    titles = {"": "none, it is trained here"} | {name: f"{item.title} ({item.numbers:,} numbers)" for name, item in kept.items()}
    if start not in titles:
        titles[start] = "deleted weights"
    with st.expander("Weights of your own (safetensors)", expanded=bool(st.session_state.get(field, start)) or TOLD in st.session_state):
        if reason := weights.refused(spec):
            st.caption(plain(reason))
            return spec, True
        if st.session_state.get(field) not in titles:
            st.session_state[field] = start
        chosen = st.selectbox(
            "The original's weights",
            list(titles),
            format_func=titles.get,
            key=field,
            help="The state dict of this architecture, as your own training left it. Choose in the recipe above how it was trained: retrained models are "
            "trained that way.",
        )
        _give(field)
        if not chosen:
            return spec, True
        wanted = replace(spec, model_params=spec.model_params | {weights.FIELD: chosen})
        ready = wanted.key == open_now.key or (chosen in kept and _answer(wanted))
        if chosen in kept:
            _deleting(kept[chosen], field)
    return wanted, ready


def _data(spec: OriginalSpec) -> tuple[str, str]:
    """Which data it is, whatever part of it is taken; imports of a kind are told apart by their keys."""
    return spec.dataset, spec.dataset_params.get(own.KEY.name, "")


def about(spec: OriginalSpec) -> None:
    """What to know of the weights that the open original was given."""
    shown = original(spec.key) if spec.weights else None
    if shown:
        st.caption("  \n".join([":material/upload_file: **Given weights**", *map(plain, shown.meta["given"])]))


def _give(field: str) -> None:
    """Where a file comes from. It is kept at once, and chosen; one that is refused changes nothing."""

    def keep(content: bytes | str, name: str = "") -> None:
        """content: of an upload, or a path."""
        st.session_state.pop(TOLD, None)
        try:
            given = content if isinstance(content, bytes) else Path(content).expanduser()
            st.session_state[field] = weights.keep(backend().store, given, name).key
        except BadInput as error:
            st.session_state[TOLD] = f"{error.problem} {error.fix}"
        except RuntimeError:  # ~ of somebody unknown
            st.session_state[TOLD] = "This is not a path on this machine. Give the path of a safetensors file."
        except OSError as error:
            st.session_state[TOLD] = f"The file could not be read or kept ({error.strerror}). Nothing was changed."

    def uploaded() -> None:
        if (file := st.session_state[f"{field}.file"]) is not None:
            keep(file.getvalue(), file.name)

    def named() -> None:
        if given := st.session_state[f"{field}.path"].strip():
            keep(given)

    st.file_uploader(
        "A safetensors file", key=f"{field}.file", max_upload_size=MOST_MEGABYTES, on_change=uploaded,
        help="Nothing in it is executed. It is kept on this machine until you delete it.",
    )  # fmt: skip
    if st.get_option("server.address") in HERE:  # who reaches the page from elsewhere must not read this machine's files
        st.text_input("Or a file on this machine", key=f"{field}.path", placeholder="/home/me/weights.safetensors", on_change=named)
    if TOLD in st.session_state:
        st.error(plain(st.session_state[TOLD]), icon=":material/error:")


def _answer(wanted: OriginalSpec) -> bool:
    """Say whether the weights fit, asking the worker where that is not known yet."""
    store = backend().store
    if weights.answer(store, wanted) is None:
        key = weights.check_key(wanted)
        if (job := store.job(key)) is None or job.status == "done":
            weights.submit_check(store, wanted)
        jobs.panel(
            key, "whether they fit", lambda: weights.submit_check(store, wanted), curves=False, result=lambda: weights.answer(store, wanted)
        )
    answer = weights.answer(store, wanted)
    if answer is None:
        return False
    (st.success if answer.fits else st.error)(plain(answer.told), icon=":material/check:" if answer.fits else ":material/error:")
    return answer.fits


def _deleting(kept: weights.Kept, field: str) -> None:
    """Delete kept weights after a question that says what stays."""
    store = backend().store
    busy = bool(weights.needing(store, kept.key))
    with st.popover("Delete these weights", icon=":material/delete:", width="stretch"):
        st.markdown(f"Delete the kept copy of **{plain(kept.title)}** for good?")
        st.caption("Originals that were opened with them stay, with their runs, and can be used further.")
        if busy:
            st.warning("Not now: a job that needs them is waiting or under way.", icon=":material/hourglass_top:")

        def delete() -> None:
            if not weights.needing(store, kept.key):
                weights.delete(store, kept.key)
                st.session_state[field] = ""

        st.button("Delete for good", key=f"{field}.delete", disabled=busy, on_click=delete)
