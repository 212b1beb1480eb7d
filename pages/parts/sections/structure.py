"""How much of the representation structure was kept, each figure beside its null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.blocks import block, by_id, chart, numbers
from pages.parts.gallery import thumbnail
from unlearn_core.figures import structure as structure_figures
from unlearn_core.figures.base import label
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    kept = run.family("structure.knn_overlap")
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "structure.knn_overlap", structure_figures.kept_neighbours(kept, [label(m) for m in kept]))
    with right:
        st.markdown("##### Kept neighbours, instance by instance")
        st.caption("Left half: the unlearned model. Right half: the retrained models.")
        view = run.views["kept"]
        chart(run, "kept", structure_figures.kept_by_group(view), "Kept neighbours of single instances by group", _instances(view))
    if found.sprite and "neighbours" in run.views:
        _neighbours(run, found)
    _stakes(run)
    if "relations" in run.views:
        block(
            run,
            "structure.relation_drift",
            structure_figures.class_relations(run.views["relations"], found.meta["class_names"]),
            data=_pairs(run.views["relations"], found.meta["class_names"]),
        )
    else:
        block(run, "structure.relation_drift")
    left, right = st.columns(2, gap="large")
    with left:
        view = run.views.get("cka")
        block(run, "structure.cka", view and structure_figures.layer_similarity(view), data=view and numbers(view, "layers"))
    with right:
        block(run, "structure.cka_to_retrained", _rows(run, "structure.cka_to_retrained", "debiased CKA"))
    block(run, "structure.knn_overlap_to_retrained", _rows(run, "structure.knn_overlap_to_retrained", "share of neighbours"))
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "structure.residual_similarity", _layers(run, "structure.residual_similarity", "0 as after retraining, 1 unchanged"))
    with right:
        block(run, "structure.preservation", _layers(run, "structure.preservation", "0 = chance, 1 = as two retrained models"))


def _stakes(run: Run) -> None:
    """Drift from the class centres: by layer, and instance by instance in the last one."""
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "structure.stake_drift", _layers(run, "structure.stake_drift", "mean difference of cosines"))
    with right:
        if "stakes" in run.views:
            st.markdown("##### Drift from the stakes, instance by instance")
            st.caption("In the last layer, the features. Left half: the unlearned model. Right half: the retrained models.")
            view = run.views["stakes"]
            chart(run, "stakes", structure_figures.drift_by_group(view), "Drift of single instances by group", _instances(view))
    close = "structure.stake_drift_to_retrained"
    block(run, close, _layers(run, close, "mean difference of cosines"))


def _neighbours(run: Run, found: Original) -> None:
    """The closest instances of one forgotten instance in the original and in the unlearned model, as pictures."""
    view = run.views["neighbours"]
    st.markdown("##### The neighbours of one forgotten instance")
    instance = st.selectbox("Forgotten instance", view["ids"].tolist(), key=f"neighbours.{run.key}")
    row = view["ids"].tolist().index(instance)
    before = view["original"][row].tolist()
    for title, ids in (("Original", before), ("Unlearned", view["unlearned"][row].tolist() if "unlearned" in view else [])):
        columns = st.columns([2] + [1] * (1 + len(ids)), vertical_alignment="center")
        columns[0].markdown(f"**{title}**")
        columns[1].image(thumbnail(found, instance), width=48, caption=f"{instance}", alt=f"forgotten instance {instance}")
        for column, i in zip(columns[2:], ids, strict=True):
            column.image(thumbnail(found, i), width=40, caption=f"{i}" if i in before else f"new: {i}", alt=f"neighbour {i}")


def _instances(view: dict[str, np.ndarray]) -> pd.DataFrame:
    """A view of single instances as a table, their groups in words."""
    named = {name: array for name, array in view.items() if name != "probe"}
    return by_id(named | {"group": np.array(structure_figures.GROUP_NAMES)[view["group"]]})


def _layers(run: Run, family: str, unit: str):
    measures = run.family(family)
    known = any(m.unlearned is not None for m in measures)
    return structure_figures.layer_rows(measures, x=unit, null="two retrained models") if known else None


def _rows(run: Run, family: str, unit: str):
    measures = [m for m in run.family(family) if m.unlearned is not None]
    return structure_figures.measure_rows(measures, [label(m) for m in measures], x=unit, null="two retrained models") if measures else None


def _pairs(view: dict[str, np.ndarray], class_names: list[str]) -> pd.DataFrame:
    """Matrices [C, C] over classes, one row for each pair."""
    names = np.array(class_names)[view["classes"]]
    count = len(names)
    first = {"class": np.repeat(names, count), "other": np.tile(names, count)}
    flat = {name: array.reshape(*array.shape[:-2], count**2) for name, array in view.items() if name != "classes"}
    return numbers(first | flat, "class")
