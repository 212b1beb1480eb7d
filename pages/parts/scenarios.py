"""Scenarios with a ground truth: one click opens the data with something planted, and chooses what was planted once the model is there."""

from __future__ import annotations

import streamlit as st

from pages.parts import opening
from pages.parts.plain import plain
from pages.parts.state import Studio
from unlearn_core import data
from unlearn_core.data.files import missing
from unlearn_core.data.forget import ForgetSet
from unlearn_core.data.scenarios import SCENARIOS, Scenario, of_dataset, scenario
from unlearn_core.evidence import definition
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import OriginalSpec

WHICH = "scenario.which"
COLUMNS = 4


def cards(state: Studio) -> None:
    """All scenarios, each with its button."""
    for first in range(0, len(SCENARIOS), COLUMNS):
        for column, known in zip(st.columns(COLUMNS), SCENARIOS[first : first + COLUMNS], strict=False):
            with column.container(border=True, height="stretch"):
                _card(state, known)


def _card(state: Studio, known: Scenario) -> None:
    st.markdown(f"**{known.title}**")
    ready = _told(known)
    # Not a callback: the page can only be left from here.
    if st.button("Open", key=f"scenario.{known.name}", icon=":material/play_arrow:", disabled=not ready):
        start(state, known)
        st.switch_page("pages/studio.py", query_params={"set": state.token} if state.token else None)


def listed(state: Studio) -> None:
    """The sidebar's list: one scenario at a time, with its button."""
    with st.expander("Scenarios with a known answer", icon=":material/science:"):
        titles = {known.name: known.title for known in SCENARIOS}
        known = scenario(st.selectbox("Scenario", list(titles), format_func=titles.get, key=WHICH))
        ready = _told(known)
        st.button(
            "Open this scenario",
            key="scenario.start",
            icon=":material/play_arrow:",
            width="stretch",
            disabled=not ready,
            on_click=start,
            args=(state, known),
            help="Opens its data and model and chooses what was planted; the points chosen now are kept as a saved set.",
        )


def _told(known: Scenario) -> bool:
    """Say what a scenario is about and what it takes; whether it can be opened here."""
    info = data.info(known.dataset)
    st.caption(f"{info.title}. {known.shows}")
    needed = missing(info.files)
    fetched = all(file.addresses for file in needed)
    if needed and fetched:
        st.caption(f":material/download: Downloads {sum(file.megabytes for file in needed):.0f} MB first.")
    elif needed:
        st.caption(":material/folder_off: Needs its files on this machine.")
    return fetched


def start(state: Studio, known: Scenario) -> None:
    """Open the scenario's original; its instances are chosen as soon as that is trained."""
    spec = OriginalSpec.make(known.dataset, known.model, known.params, device=opening.run_device())
    state.open(spec)
    if state.parent:
        state.go_on("")  # what is planted may be gone already in what came before
    state.scenario = known.name


def preselect(state: Studio, found: Original) -> None:
    """Choose what a scenario that was just opened is about, and say what the one on screen is, also after a reload or on a shared link."""
    waiting = next((known for known in SCENARIOS if known.name == state.scenario), None)
    state.scenario = ""
    if waiting:
        _choose(state, found, waiting)
    known = _on_screen(state, found)
    if known:
        _banner(state, found, known)


def _on_screen(state: Studio, found: Original) -> Scenario | None:
    """The scenario that the open data was planted for; of those without anything planted, the one that the chosen set came from."""
    of_data = of_dataset(found.spec.dataset, found.meta["planted"], found.spec.dataset_params)
    return of_data or next((known for known in SCENARIOS if _how(known) in state.forget.provenance), None)


def _choose(state: Studio, found: Original, known: Scenario) -> None:
    state.choose(ForgetSet().add(known.chosen(found.ids, found.meta["planted"]), _how(known)))


def _how(known: Scenario) -> str:
    return f"scenario: {known.title}"


def _banner(state: Studio, found: Original, known: Scenario) -> None:
    own = found.spec.dataset in known.datasets
    shows = known.shows if own else plain(found.meta["notes"][-1])
    wanted = set(known.chosen(found.ids, found.meta["planted"])) - set(state.gone)
    there = bool(wanted) and wanted == set(state.forget.ids)
    family = known.measure.removesuffix(f".{known.measure.split('.', 2)[2]}")
    st.info(
        f"**Scenario: {known.title}.** {shows} {'What it is about is chosen: press Unlearn. ' if there else ''}**Success:** {known.success} "
        f"Look at “{definition(family).title}”.",
        icon=":material/science:",
    )
    if wanted and not there:
        st.button(
            f"Choose what this scenario is about ({len(wanted):,})",
            key="scenario.choose",
            icon=":material/checklist:",
            on_click=_choose,
            args=(state, found, known),
        )
