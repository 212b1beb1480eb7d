"""Overview: what unlearning is in one minute, then straight into the demo."""

import streamlit as st

from pages.parts import frame, results, scenarios
from pages.parts.backend import original
from pages.parts.sections import boundary
from pages.parts.state import studio
from unlearn_core import methods, report
from unlearn_core.runs.demo import example_key

frame.enter()
state = studio()

CARDS = (
    (
        ":material/database_off: Deleting is not forgetting",
        "A row that is deleted from the database still shapes every model that was trained on it: its wording, its odd cases, sometimes the row itself.",
    ),
    (
        ":material/ink_eraser: Unlearning",
        "The certain way is to train again without the row. Unlearning methods try to reach the same model with less work, and some fall short of it.",
    ),
    (
        ":material/balance: Evidence beside retraining",
        "So every number here stands next to models that were really retrained without those instances: that is the ideal, whatever it is.",
    ),
)
READERS = (
    ("A lecturer", "open Two moons, plant wrong labels, forget them and watch the boundary move."),
    ("A researcher", "pick hard or odd instances on the map, compare methods and strengths on exactly those, take every table as CSV."),
    (
        "A data-protection lead",
        "enter the ids of a request, read the summary: what was forgotten, what it cost, how sure we are, what it does not prove.",
    ),
)

st.title("Point at instances, unlearn exactly those, see honest evidence", anchor=False)
for column, (title, text) in zip(st.columns(3), CARDS, strict=True):
    with column.container(border=True, height="stretch"):
        st.markdown(f"**{title}**  \n{text}")

key = example_key()
run = results.stored(key) if key else None
with st.container(horizontal=True):
    if st.button("Try it on handwritten digits", type="primary", icon=":material/arrow_forward:"):
        st.switch_page("pages/studio.py", query_params={"set": state.token} if state.token else None)
    if run and st.button("Open the run shown below", icon=":material/open_in_new:"):
        frame.leave_for_run(key)

found = original(run.spec.original.key) if run else None
if run and found:
    st.subheader("One run, as an example", divider="gray", anchor=False)
    planted = len(found.meta["planted"]["mislabelled"])
    st.markdown(
        f"{planted} of {len(found.ids)} training points of two moons were given the wrong label on purpose (crosses), and then unlearned with {methods.info(run.spec.method).title} (ringed)."
    )
    boundary.regions(run, found, tuple(found.meta["class_names"]))
    said = report.summary(run)
    left, right = st.columns(2)
    left.markdown("**What it cost**\n" + "\n".join(f"- {s}" for s in said.cost))
    right.markdown("**How sure we are**\n" + "\n".join(f"- {s}" for s in said.sure))

st.subheader("Scenarios whose right answer is known", divider="gray", anchor=False)
st.markdown(
    "Something was planted in the data, so that what to forget, and what a model without it does, is no question of opinion. One click plants, trains "
    "and chooses; then unlearn, and look whether the planted thing is gone."
)
scenarios.cards(state)

st.subheader("Where to begin", divider="gray", anchor=False)
for column, (who, text) in zip(st.columns(3), READERS, strict=True):
    column.markdown(f"**{who}:** {text}")
