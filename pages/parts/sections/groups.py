"""How far groups of people lie apart in what the models answer."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.parts.blocks import block, chart
from pages.parts.sections.planted import asked
from unlearn_core.data.planting import BIASED
from unlearn_core.figures import groups as group_figures
from unlearn_core.figures.base import triples
from unlearn_core.figures.utility import share_axis
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

FAMILIES = {"parity": "groups.parity", "opportunity": "groups.opportunity", "accuracy": "groups.accuracy"}


def draw(run: Run, found: Original) -> None:
    if found.meta["planted"].get(BIASED):
        for note in asked(run, found):
            st.markdown(note)
    st.caption(
        "Differences between groups on test instances, which no model learned from. The second class is the positive one"
        + (f" ({found.meta['class_names'][1]})" if len(found.meta["class_names"]) == 2 else "")
        + ". A gap says how the models answer, not why, and to be like retraining here is no statement that the retrained model is fair."
    )
    attributes = [name.removeprefix("groups_") for name in run.views if name.startswith("groups_")]
    for what, family in FAMILIES.items():
        left, right = st.columns(2, gap="large")
        with left:
            measures = [m for m in run.family(family) if m.unlearned is not None]
            labels = [f"{m.group}<br>n = {m.n:,}" for m in measures]
            block(run, family, share_axis(triples(measures, labels, x="difference between groups")) if measures else None)
        with right:
            _rates(run, what, attributes)


def _rates(run: Run, what: str, attributes: list[str]) -> None:
    there = [name for name in attributes if f"{what}_n" in run.views[f"groups_{name}"]]
    for name in there:
        view = run.views[f"groups_{name}"]
        st.markdown(f"##### {name.capitalize()}, group by group")
        data = {"group": view["names"], "n": view[f"{what}_n"], "original": view[f"{what}_original"]}
        data |= {"unlearned": view[f"{what}_unlearned"]} if f"{what}_unlearned" in view else {}
        data |= {f"retrained_{k}": row for k, row in enumerate(view[f"{what}_retrained"], 1)}
        alt = f"{name}: {group_figures.AXES[what]} of each group, original, unlearned and retrained"
        chart(run, f"groups.{what}.{name}", group_figures.rates(view, what), alt, pd.DataFrame(data))
