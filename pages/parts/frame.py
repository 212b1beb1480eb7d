"""The frame around every page: title, navigation, style."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.parts.state import no_run, studio

ASSETS = Path(__file__).resolve().parents[2] / "assets"
STYLE, ICON = ASSETS / "style.css", ASSETS / "icon.svg"  # a material icon would be fetched from the network
FRAMED = "framed"


def navigation():
    """Name the app and declare its pages; the one to show is returned."""
    st.set_page_config(page_title="Unlearning Studio", page_icon=ICON, layout="wide")
    return st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("pages/studio.py", title="Studio", icon=":material/ink_eraser:"),
            st.Page("pages/runs.py", title="Runs", icon=":material/history:"),
        ],
        position="top",
    )


def run() -> None:
    """Called by app.py: set up the page and run it."""
    st.html(STYLE)
    st.session_state[FRAMED] = True
    navigation().run()


def enter() -> None:
    """First line of every page. The very first visit of a server, if it is a deep link, reaches the page without app.py, because
    Streamlit still discovers pages/ by itself until st.navigation was called once; then that is done and the visit starts over."""
    if FRAMED not in st.session_state:
        navigation()
        st.rerun()


def leave_for_run(key: str) -> None:
    """Go to the Studio with this run on screen; a notice, and no move, if it is gone."""
    if not studio().switch_to(key):
        no_run()
        return
    st.switch_page("pages/studio.py", query_params={"run": key})
