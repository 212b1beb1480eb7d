"""What happened to the retained instances near the forgotten ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.blocks import block, by_id, chart, numbers
from pages.parts.gallery import seen
from unlearn_core.figures import collateral as collateral_figures
from unlearn_core.figures.base import label, triples
from unlearn_core.figures.utility import bounded_axis
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

WORST = 12


def draw(run: Run, found: Original) -> None:
    st.caption(
        "Forgetting some instances can harm others that are like them. Retraining changes those as well, so what counts is the difference "
        "from retrained models. Damage that the original shows too was not done by the method: retraining made those instances surer, as it does "
        "where wrong labels beside them went, and the method has not. A curve near 0 means that no group as a whole was harmed beyond "
        "retraining; it does not clear every single instance, and it sees only how sure the model is of the given labels."
    )
    curve = run.views.get("damage_curve")
    if curve is not None:
        left, right = st.columns(2, gap="large")
        with left:
            st.markdown("##### Damage by distance")
            st.caption("Groups of about equal size; the bars span the middle half of the instances, the band is retraining.")
            alt = "Mean damage of retained instances, nearest to the forgotten ones first"
            chart(
                run,
                "damage_curve",
                collateral_figures.damage_curve(curve),
                alt,
                numbers({"group": np.arange(1, 1 + len(curve["count"]))} | curve, "group"),
            )
        with right:
            st.markdown("##### Damage, instance by instance")
            st.caption("Hover for ids. Single values also hold the chance of the training seeds: look for many that lie on one side.")
            alt = "Damage of single retained instances over their distance to the nearest forgotten one"
            chart(run, "damage", collateral_figures.damage_scatter(run.views["damage"]), alt, _worst_first(run))
            _worst(run, found)
    for family, unit, *ends in (
        ("collateral.damage", "damage (logits)"),
        ("collateral.slope", "rank correlation", -1, 1),
        ("collateral.accuracy", "accuracy", 0, 1),
    ):
        measures = [m for m in run.family(family) if m.unlearned is not None]
        block(run, family, bounded_axis(triples(measures, [label(m) for m in measures], x=unit), *ends) if measures else None)


def _worst(run: Run, found: Original) -> None:
    """The most damaged retained instances as people see them."""
    worst = _worst_first(run).head(WORST)
    name, cells, config = seen(found, worst["id"].tolist())
    worst.insert(0, name, cells)
    with st.expander(f"The {len(worst)} most damaged"):
        numbers = {column: st.column_config.NumberColumn(format="%.3g") for column in worst.columns if worst[column].dtype.kind == "f"}
        st.dataframe(worst, hide_index=True, column_config={name: config, **numbers}, key=f"worst.{run.key}", height="content")


def _worst_first(run: Run) -> pd.DataFrame:
    view = run.views["damage"]
    column = "damage_unlearned" if "damage_unlearned" in view else "damage_original"
    return by_id(view).sort_values(column, ascending=False)
