"""What the models can still do, class by class, and what it cost."""

from __future__ import annotations

import streamlit as st

from pages.parts.blocks import block, chart, numbers, part
from unlearn_core.figures import utility as utility_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "utility.accuracy", utility_figures.accuracy(run.family("utility.accuracy")))
    with right:
        block(run, "utility.loss", utility_figures.loss(run.family("utility.loss")))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Accuracy of every class")
        group = st.segmented_control("Instances", ["test", "retain"], default="test", key="per_class.group", required=True)
        view = run.views["per_class"]
        data = numbers({"class": view["names"]} | part(view, lambda name: name.removesuffix(f"_{group}")), "class")
        chart(run, f"per_class.{group}", utility_figures.per_class(view, group), "Accuracy of every class", data)
        st.caption(
            "A class that loses more than the others is a new bias. The band is where one further retrained model would be expected."
        )
    with right:
        ratio = run.measure("utility.cost.ratio")
        block(run, "utility.seconds", utility_figures.cost(run.measure("utility.seconds.method"), ratio))
        block(run, "utility.cost")
    left, right = st.columns(2, gap="large")
    with left:
        block(
            run,
            "utility.calibration",
            utility_figures.group_triples(run.family("utility.calibration"), "utility.calibration", "expected calibration error"),
        )
    with right:
        block(run, "utility.accuracy_gap")
