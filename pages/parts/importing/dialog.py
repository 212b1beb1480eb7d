"""The dialog in which a person gives a file, says what is what, and keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from pages.parts.importing import choosing, giving, showing
from pages.parts.importing.desk import Desk
from pages.parts.importing.waiting import answered
from pages.parts.plain import plain
from unlearn_core.data import own
from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput

DESK = "import.desk"


def begin() -> None:
    """Open the dialog."""
    st.session_state[DESK] = Desk()


def end() -> None:
    """Close the dialog; what was read is let go."""
    desk = st.session_state.pop(DESK, None)
    if desk:
        desk.reading.close()


def draw(keep: Callable[[own.Kept], None]) -> None:
    """The dialog, if it is open. It is drawn again after every run of the page, since other parts of the page may ask for one.

    keep: what to do with data that is kept, before the page runs again.
    """
    if DESK in st.session_state:
        _dialog(keep)


@st.dialog("Use your own data", width="large", on_dismiss=end)
def _dialog(keep: Callable[[own.Kept], None]) -> None:
    desk: Desk | None = st.session_state.get(DESK)
    if desk is None:  # kept just now: the page around is another one
        st.rerun()
    given = giving.given(desk)
    if given is None:
        return
    try:
        columns = answered(desk, "preview")
        options = None if columns is None else choosing.options_for(given, columns)
        found = None if options is None else answered(desk, "check", replace(options, title=""))
    except BadInput as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    if found is None:
        return
    showing.draw(given, found)
    kept = _kept(desk, options)
    if kept:
        end()
        keep(kept)
        st.rerun()


def _kept(desk: Desk, options: Options) -> own.Kept | None:
    """The import, once the person decided to keep it as it is now and that is done."""
    kept = None
    if desk.keeping == options:
        try:
            kept = answered(desk, "keep", options)
        except BadInput as error:
            desk.keeping, desk.told = None, f"{error} Nothing was changed."
    if desk.told:
        st.error(plain(desk.told), icon=":material/error:")
    if kept is None:
        st.button(
            "Keep and open",
            type="primary",
            icon=":material/check:",
            key="import.keep",
            disabled=desk.keeping == options,
            on_click=desk.keep,
            args=(options,),
        )
    return kept
