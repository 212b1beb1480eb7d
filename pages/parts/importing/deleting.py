"""Deleting one's own data: what goes with it is counted before anything happens."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts.backend import backend
from pages.parts.plain import plain
from pages.parts.remembering import forget
from unlearn_core.data.importing.source import amount
from unlearn_core.errors import BadInput
from unlearn_core.runs import deleting
from unlearn_core.runs.deleting import Made

ASKED, TOLD = "own.delete.asked", "own.delete.told"
WITH = "own.delete.with"


def offer_deletion(key: str, label: str = "Delete") -> None:
    """The button that asks, in a dialog, whether an import shall be deleted."""
    st.button(label, icon=":material/delete:", key="own.delete.ask", width="stretch", on_click=_ask, args=(key,))


def _ask(key: str) -> None:
    st.session_state[ASKED] = key


def _end() -> None:
    for name in (ASKED, TOLD):
        st.session_state.pop(name, None)


def draw(leave: Callable[[str, str], None]) -> None:
    """The question, if it was asked. leave: called with the key, and with what was deleted, when everything is gone."""
    if ASKED in st.session_state:
        _dialog(leave)


@st.dialog("Delete your own data", on_dismiss=_end)
def _dialog(leave: Callable[[str, str], None]) -> None:
    key = st.session_state.get(ASKED)
    if key is None:  # deleted just now
        st.rerun()
    made = deleting.made_from(backend().store, key)
    if made.kept:
        st.markdown(f"Delete **{plain(made.kept.title)}** ({made.kept.instances:,} instances) for good?")
        everything = st.toggle("Also everything that was made from it", value=True, key=WITH)
    else:
        st.markdown("The data itself was deleted before. Delete what was made from it for good?")
        everything = True
    if everything:
        st.markdown(f"Made from it: {made}. Together {amount(made.size)}.")
        st.caption("Reports that you downloaded and backups of your disk are not touched. Nothing is overwritten on the disk itself.")
    else:
        st.warning(
            f"These stay in the store, with the words or pictures of instances that they show: {made}. Nothing new can be computed from them.",
            icon=":material/visibility:",
        )
    if made.busy:
        st.warning(
            f"Not now: {'a job that needs it is' if len(made.busy) == 1 else f'{len(made.busy)} jobs that need it are'} waiting or under way. "
            "Let them end, or cancel them.",
            icon=":material/hourglass_top:",
        )
    if told := st.session_state.get(TOLD):
        st.error(plain(told), icon=":material/error:")
    st.button(
        "Delete for good",
        type="primary",
        icon=":material/delete_forever:",
        key="own.delete",
        disabled=bool(made.busy),
        on_click=_delete,
        args=(made, everything, leave),
    )


def _delete(made: Made, everything: bool, leave: Callable[[str, str], None]) -> None:
    store, title = backend().store, plain(made.kept.title) if made.kept else "What was left of the data"
    try:
        if everything:
            gone = deleting.delete(store, made.key)
            leave(made.key, f"{title} was deleted, and what was made from it: {gone}.")
        else:
            deleting.delete_data_only(store, made.key)
    except BadInput as error:  # somebody started a job meanwhile
        st.session_state[TOLD] = str(error)
        return
    finally:
        forget()
    _end()
