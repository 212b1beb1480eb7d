"""What population attacks still find; average-case and weak."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.blocks import block, by_id, chart, numbers, part
from unlearn_core.figures import privacy as privacy_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    st.info(
        "These attacks look at averages over a population and are weak against single instances. Their ideal is what retraining gives: "
        "for a hand-picked set that can be far from 0.5.",
        icon=":material/info:",
    )
    st.markdown("##### Can forgotten and never-seen instances be told apart?")
    scale = st.segmented_control(
        "Score",
        {"scores": "logit-scaled confidence φ", "confidence": "confidence in the label"},
        format_func={"scores": "φ", "confidence": "confidence"}.get,
        default="scores",
        key="privacy.score",
        required=True,
    )
    view = run.views[scale]
    values = np.concatenate([np.ravel(array) for array in view.values() if np.asarray(array).dtype.kind == "f"])
    low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
    threshold = st.slider("Threshold: instances above it are called members", low, high, (low + high) / 2, key=f"privacy.threshold.{scale}")
    label = "logit-scaled confidence φ" if scale == "scores" else "confidence in the label"
    chart(
        run,
        f"hist.{scale}",
        privacy_figures.score_histograms(view, threshold, x=label),
        "Histograms of forgotten and test instances",
        _scores(view),
    )
    auc = [*run.family("privacy.auc"), *run.family("privacy.exposure_shift")]
    block(
        run,
        "privacy.auc",
        privacy_figures.auc_rows(auc, [{"forget": "forgotten or never seen", "retain": "retained or never seen"}[m.group] for m in auc]),
    )
    left, right = st.columns(2, gap="large")
    with left:
        attack = run.measure("privacy.lr_attack.forget")
        view = run.views.get("lr_attack")
        data = view and numbers({"split": np.arange(1, 1 + len(view["original"]))} | view, "split")
        block(run, "privacy.lr_attack", view and privacy_figures.split_dots(view, attack), data=data)
    with right:
        view = run.views.get("roc")
        block(run, "privacy.tpr_at_1pct_fpr", view and privacy_figures.roc_curves(view), data=view and numbers(view, "fpr"))
    block(run, "privacy.exposure_shift")


def _scores(view: dict[str, np.ndarray]) -> pd.DataFrame:
    parts = {group: by_id(part(view, lambda name, head=f"{group}.": name.removeprefix(head))) for group in ("forget", "test")}
    return pd.concat([part.assign(group=group) for group, part in parts.items()])
