"""What population attacks still find; average-case and weak."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.parts.blocks import block, by_id, chart, numbers, part
from unlearn_core.figures import population as population_figures
from unlearn_core.figures import privacy as privacy_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

SCALES = {"scores": "logit-scaled confidence (φ)", "confidence": "confidence in the label"}
GUESS = "balanced accuracy (0.5 = a coin)"


def draw(run: Run, found: Original) -> None:
    st.info(
        "These attacks look at averages over a population and are weak against single instances. Their ideal is what retraining gives: "
        "for a hand-picked set that can be far from 0.5.",
        icon=":material/info:",
    )
    _scores(run, found)
    block(run, "privacy.auc", _rows(run, "privacy.auc"))
    left, right = st.columns(2, gap="large")
    with left:
        attack = run.measure("privacy.lr_attack.forget")
        view = run.views.get("lr_attack")
        data = view and numbers({"split": np.arange(1, 1 + len(view["original"]))} | view, "split")
        block(run, "privacy.lr_attack", view and privacy_figures.split_dots(view, attack), data=data)
    with right:
        view = run.views.get("roc")
        block(run, "privacy.tpr_at_1pct_fpr", view and privacy_figures.roc_curves(view), data=view and numbers(view, "fpr"))
    _more(run)
    st.markdown("#### Did forgetting expose others?")
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "privacy.exposure_shift", _rows(run, "privacy.exposure_shift"))
    with right:
        block(run, "population.exposure_shift", _rows(run, "population.exposure_shift"))


def _scores(run: Run, found: Original) -> None:
    st.markdown("##### Can forgotten and never-seen instances be told apart?")
    scored = (
        "The score is minus the loss, since a number comes without a confidence."
        if found.task == "number"
        else "The logit-scaled confidence φ = log(p / (1 − p)) is the confidence p in the label on a scale on which 99 % and "
        "99.99 % lie apart; both order instances alike."
    )
    st.caption(
        "Everything above the threshold is called a member: forgotten instances above it are found, test instances above it are false "
        f"alarms. {scored}"
    )
    scales = SCALES if found.task != "number" else {"scores": "minus the loss"}
    scale = st.segmented_control("Score", scales, format_func=scales.get, default="scores", key="privacy.score", required=True)
    view = run.views[scale]
    values = np.concatenate([np.ravel(array) for array in view.values() if np.asarray(array).dtype.kind == "f"])
    low, high = float(np.floor(values.min())), float(np.ceil(values.max()))
    threshold = st.slider("Threshold: instances above it are called members", low, high, (low + high) / 2, key=f"privacy.threshold.{scale}")
    fig = privacy_figures.score_histograms(view, threshold, x=scales[scale])
    chart(run, f"hist.{scale}", fig, "Histograms of forgotten and test instances", _by_group(view))


def _more(run: Run) -> None:
    st.markdown("#### More average-case attacks, all weak")
    st.caption(
        "Each is one rule for everybody. A model that passes all of them can still give away single instances: see Instances. They "
        "answer the same question by different scores, so compare each number only with its own retrained values."
    )
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "population.entropy", _rows(run, "population.entropy"))
        block(run, "population.gap", _rows(run, "population.gap", x=GUESS))
    with right:
        block(run, "population.modified_entropy", _rows(run, "population.modified_entropy"))
        block(run, "population.class_threshold", _rows(run, "population.class_threshold", x=GUESS))
    view = run.views.get("svc")
    block(run, "population.svc_efficacy", view and population_figures.svc_shares(view), data=view and _svc(view))


def _rows(run: Run, family: str, **axis: str) -> go.Figure | None:
    """The measures of a family that have a value, with their chance bands; None if none has. The title above names them."""
    drawn = [m for m in run.family(family) if m.unlearned is not None]
    return privacy_figures.auc_rows(drawn, [""] * len(drawn), **axis) if drawn else None


def _svc(view: dict[str, np.ndarray]) -> pd.DataFrame:
    columns = ["SVC right", "retained called never seen", "test called never seen", "forgotten called never seen"]
    return pd.DataFrame(population_figures.svc_models(view).values(), columns=columns).assign(
        model=population_figures.svc_models(view).keys()
    )


def _by_group(view: dict[str, np.ndarray]) -> pd.DataFrame:
    parts = {group: by_id(part(view, lambda name, head=f"{group}.": name.removeprefix(head))) for group in ("forget", "test")}
    return pd.concat([part.assign(group=group) for group, part in parts.items()])
