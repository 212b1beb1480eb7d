"""How fast the models learn the forgotten instances again."""

from __future__ import annotations

import streamlit as st

from pages.parts.blocks import block, chart, numbers
from unlearn_core.figures import relearning as relearning_figures
from unlearn_core.figures.base import triples
from unlearn_core.figures.utility import bounded_axis
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

UNITS = {"relearning.epochs": "epochs", "relearning.area": "mean loss (nats)"}


def draw(run: Run, found: Original) -> None:
    st.caption(
        "Copies of all models are trained on the forgotten instances alone, from the same recipe at a quarter of its learning rate. A model that "
        "learns them faster than retrained ones still holds something of them, even where its answers hide it. As fast as retrained ones is no "
        "proof that nothing is left: this race sees only what helps to learn exactly these instances with these few steps."
    )
    if "relearn_loss" in run.views:
        said = run.measure("relearning.area.forget").reason
        said = f" {said[0].upper()}{said[1:]}." if said else ""
        left, right = st.columns(2, gap="large")
        for column, view, title, y in (
            (left, "relearn_loss", "Loss during the race", "mean loss (nats)"),
            (right, "relearn_accuracy", "Accuracy during the race", "accuracy"),
        ):
            if view not in run.views:  # a number is never simply right
                continue
            with column:
                st.markdown(f"##### {title}")
                st.caption(f"Averaged over three orders of the instances.{said}")
                fig = relearning_figures.race(run.views[view], y=y, share=y == "accuracy")
                chart(run, view, fig, f"{title} of original, unlearned and retrained models", numbers(run.views[view], "epoch"))
    left, right = st.columns(2, gap="large")
    for column, (family, unit) in zip((left, right), UNITS.items(), strict=True):
        with column:
            measures = [m for m in run.family(family) if m.unlearned is not None]
            # Neither can be below 0, wherever the interval ends.
            block(run, family, bounded_axis(triples(measures, ["forgotten"], x=unit), low=0.0) if measures else None)
