"""A section of evidence where instances have no single class: what there is as plain triples, and why the rest is missing."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import streamlit as st

from pages.parts.blocks import block, chart
from unlearn_core import evidence
from unlearn_core.figures import utility as utility_figures
from unlearn_core.figures.base import label, triples
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

MODULES = {"Privacy": ("privacy", "population")}
SAID = {
    "labels": "An instance may carry several labels here. Where the texts speak of the confidence in the given label, it is the probability of exactly "
    "the given labels, as the product over all of them; where they speak of an instance's class, its group on the map stands for it.",
    "number": "The answer is a number here, which comes without a confidence: where the texts speak of one, minus the loss stands for it, half the "
    "squared error in units of the training numbers' spread; where they speak of an instance's class, its range on the map stands for it.",
}
DRAWN = {  # with the drawings that classes have, whose numbers these tasks have too
    "labels": ("Structure", "Privacy", "Instances", "Collateral", "Relearning", "Files"),
    "number": ("Structure", "Privacy", "Relearning", "Files"),
}


def draw(run: Run, found: Original, section: str) -> None:
    """Every family of the section's measures; for a number in the number's own unit where that is the measure's."""
    _columns(run, _families(run, section, there=True), _figures(run, found))
    if section == "Utility":
        _by_label(run)
        _columns(run, ["utility.seconds", "utility.cost"], _figures(run, found))
    lacking(run, section)


def lacking(run: Run, section: str) -> None:
    """What of the section needs a class, and why it is missing."""
    missing = _families(run, section, there=False)
    if missing:
        st.markdown("##### Not computed")
        said = ((evidence.definition(family).title, run.family(family)[0].reason) for family in missing)
        st.markdown("\n".join(f"- {title}: {reason}." for title, reason in said))


def _by_label(run: Run) -> None:
    """F1 of every label on test instances."""
    measures = [m for m in run.family("utility.f1") if ":label:" in m.group and m.unlearned is not None]
    if measures:
        with st.expander(f"F1 of each of the {len(measures)} labels on test instances"):
            fig = utility_figures.share_axis(triples(measures, [label(m) for m in measures], x="F1"))
            chart(run, "f1.label", fig, "F1 of every label on test instances")


def note(found: Original) -> None:
    """How to read texts that were written for classes."""
    if found.task != "classes":
        st.caption(SAID[found.task])


def _families(run: Run, section: str, there: bool) -> list[str]:
    """Families of the section that apply to the task, or those that do not; time and cost stand apart."""
    found = [d.id for name in MODULES.get(section, (section.lower(),)) for d in evidence.registry()[name].definitions]
    apart = ("utility.seconds", "utility.cost")
    found.sort(key=lambda f: "classes" in evidence.definition(f).tasks)  # first what only this task has
    return [f for f in found if f not in apart and run.family(f) and there != all(m.group == evidence.EVERYTHING for m in run.family(f))]


def _columns(run: Run, families: list[str], figures: Mapping[str, go.Figure]) -> None:
    for at in range(0, len(families), 2):
        for column, family in zip(st.columns(2, gap="large"), families[at : at + 2], strict=False):
            with column:
                block(run, family, figures.get(family))


def _figures(run: Run, found: Original) -> dict[str, go.Figure]:
    """Charts that plain triples would not do for."""
    figures = {
        "utility.seconds": utility_figures.cost(run.measure("utility.seconds.method"), run.measure("utility.cost.ratio")),
        "utility.loss": utility_figures.loss(run.family("utility.loss")),
    }
    for family in ("utility.exact", "utility.label_accuracy", "utility.f1"):
        if run.family(family):
            figures[family] = utility_figures.share_axis(utility_figures.group_triples(run.family(family), family, "share"))
    if found.task == "number":
        axis = f"{found.meta['number']['name']} ({found.meta['number']['unit']})"
        axes = {"utility.error": axis, "boundary.apart": axis, "utility.r2": "R²"}
        figures |= {family: utility_figures.group_triples(run.family(family), family, x) for family, x in axes.items()}
    return figures
