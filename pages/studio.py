"""Studio: select on the map, unlearn, see."""

import streamlit as st

from pages.parts import frame, gallery, mapping, opening, results, scenarios, selecting, unlearning
from pages.parts.picker import pick, take
from pages.parts.plain import plain
from pages.parts.state import Studio, studio
from unlearn_core.runs.originals import Original

PICKER = "picker"


@st.fragment
def select_and_unlearn(state: Studio, found: Original) -> None:
    """Map on the left, everything about the choice on the right; only this part runs again on a gesture."""
    apply(state, take(PICKER))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        bar = st.columns(2)
        colour = bar[0].selectbox("Colour by", mapping.colours(found), format_func=str.capitalize, key="colour")
        layout, awaited = mapping.choose_layout(bar[1], found)
        points = mapping.points(found, layout, colour, state.forget, state.gone)
        what = f"Map of {len(found.ids)} training instances of {found.meta['title']}, coloured by {colour}; {len(state.forget)} chosen to forget"
        late = pick(points, state.forget.ids, key=PICKER, alt=what, height=500)
        apply(state, late)
        if awaited:
            mapping.awaited(found, awaited)
        st.caption(mapping.trust(found, layout, state.gone))
        if late:
            st.rerun(scope="fragment")
    with right:
        selecting.told()
        under_way, before = st.container(), state.run
        choose, listed, do = st.tabs(["Select", "Chosen", "Unlearn"])  # a label that changed would close the open tab
        with choose:
            selecting.ways(state, found)
        with listed:
            gallery.chosen(state, found)
        with do:
            unlearning.form(state, found)
        if state.run != before and (before or results.grown(state.run)):
            st.rerun()  # what stands below belongs to another run
        if state.run:
            with under_way:
                results.progress(state.run)
                results.pointer(state.run)


def apply(state: Studio, gestures) -> None:
    for gesture in gestures:
        if gesture.op == "undo":
            state.undo()
        elif gesture.op == "clear":
            state.choose(state.forget.remove(state.forget.ids))
        elif gesture.op == "add":
            state.choose(state.forget.add(gesture.ids, {"click": "clicked", "box": "box"}.get(gesture.how, gesture.how)))
        else:
            state.choose(state.forget.remove(gesture.ids))


frame.enter()
state = studio()
opening.choose_original(state)
with st.sidebar:
    scenarios.listed(state)
    opening.device_field()
found = opening.opened(state)
if found:
    st.subheader(plain(found.meta["title"]), divider="gray")
    scenarios.preselect(state, found)
    select_and_unlearn(state, found)
    if state.run:
        results.show(state, found)
