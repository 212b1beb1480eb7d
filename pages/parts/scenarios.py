"""Scenarios with a ground truth: one click opens the data with something planted, and chooses what was planted once the model is there."""

from __future__ import annotations

import streamlit as st

from pages.parts import opening
from pages.parts.state import Studio
from unlearn_core import data
from unlearn_core.data.files import missing
from unlearn_core.data.forget import ForgetSet
from unlearn_core.data.scenarios import SCENARIOS, Scenario, scenario
from unlearn_core.evidence import definition
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import OriginalSpec

OPEN = "scenario.open"  # (key of its original, name): on screen until another original is opened
WAITING = "scenario.waiting"  # whether its instances are still to be chosen
COLUMNS = 4


def cards(state: Studio) -> None:
    """All scenarios, each with its button."""
    for first in range(0, len(SCENARIOS), COLUMNS):
        for column, known in zip(st.columns(COLUMNS), SCENARIOS[first : first + COLUMNS], strict=False):
            with column.container(border=True, height="stretch"):
                _card(state, known)


def _card(state: Studio, known: Scenario) -> None:
    info = data.info(known.dataset)
    st.markdown(f"**{known.title}**")
    st.caption(f"{info.title}. {known.shows}")
    needed = missing(info.files)
    fetched = all(file.addresses for file in needed)
    if needed and fetched:
        st.caption(f":material/download: Downloads {sum(file.megabytes for file in needed):.0f} MB first.")
    elif needed:
        st.caption(":material/folder_off: Needs its files on this machine.")
    # Not a callback: the page can only be left from here.
    if st.button("Open", key=f"scenario.{known.name}", icon=":material/play_arrow:", disabled=bool(needed) and not fetched):
        start(state, known)
        st.switch_page("pages/studio.py", query_params={"set": state.token} if state.token else None)


def start(state: Studio, known: Scenario) -> None:
    """Open the scenario's original; its instances are chosen as soon as that is trained."""
    spec = OriginalSpec.make(known.dataset, known.model, known.params, device=opening.run_device())
    state.open(spec)
    if state.parent:
        state.go_on("")  # what is planted may be gone already in what came before
    st.session_state[OPEN], st.session_state[WAITING] = (spec.key, known.name), True


def preselect(state: Studio, found: Original) -> None:
    """Choose what the open scenario is about, once, and say what it is; nothing while another original is on screen."""
    key, name = st.session_state.get(OPEN, ("", ""))
    if key != found.key:
        return
    known = scenario(name)
    if st.session_state.pop(WAITING, False):
        ids = known.chosen(found.ids, found.meta["planted"])
        state.choose(ForgetSet().add(ids, f"scenario: {known.title}"))
    family = known.measure.removesuffix(f".{known.measure.split('.', 2)[2]}")
    st.info(
        f"**Scenario: {known.title}.** {known.shows} What it is about is chosen: press Unlearn. **Success:** {known.success} "
        f"Look at “{definition(family).title}”.",
        icon=":material/science:",
    )
