"""Waiting for the file's reader: what it does in words, how far it is, and a way to stop it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts.importing.desk import Desk
from pages.parts.plain import plain
from unlearn_core.data.importing import Options

EVERY = 0.25


def answered(desk: Desk, do: str, options: Options | None = None) -> Any:
    """The reader's answer, or None after drawing that it is still to come. Raises BadInput."""
    found = desk.answer(do, options)
    if found is None:
        _progress(desk) if desk.asked else _stopped(desk)
    return found


def _progress(desk: Desk) -> None:
    @st.fragment(run_every=EVERY)
    def draw() -> None:
        if desk.ended():
            st.rerun()
        place = st.container(horizontal=True, wrap=False, vertical_alignment="center")
        place.progress(min(max(desk.reading.share, 0.0), 1.0), text=f"{plain(desk.reading.words)} …")
        place.button("Cancel", key="import.cancel", width="content", on_click=desk.stop)

    draw()


def _stopped(desk: Desk) -> None:
    place = st.container(horizontal=True, vertical_alignment="center")
    place.info("Cancelled. Nothing was kept.", icon=":material/cancel:")
    place.button("Read it after all", key="import.again", width="content", on_click=desk.go_on)
