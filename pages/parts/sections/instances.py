"""Each forgotten instance by itself: still told apart from never seen, or not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts import deciding, pooling
from pages.parts.blocks import block, chart, missing, numbers
from pages.parts.gallery import PICTURE, seen, thumbnail
from pages.parts.plain import plain
from unlearn_core import evidence, methods, report
from unlearn_core.evidence.base import Measure
from unlearn_core.evidence.instances import ENOUGH, waffles
from unlearn_core.evidence.verdicts import NAMES, NOT, OVER, STILL
from unlearn_core.figures import instances as instance_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

WISHED = 16  # retrained models that make verdicts on single instances sharp
SHARES = ("instances.told_apart", "instances.over_forgotten")
MEANINGS = {
    STILL: "the model is surer of it than models that never saw it",
    NOT: "the model is about as sure of it as models that never saw it",
    OVER: "the model is less sure of it than models that never saw it, so its absence shows",
}
COLUMNS = {  # of the table from left to right: header, format of a number, help
    "id": ("Instance", None, "Number of the instance in the data set"),
    "label": ("Given label", None, "The label that the instance has in the data"),
    "verdict": ("Verdict", None, "At 5 % in each direction: about 10 % of exactly retrained answers are flagged too"),
    "verdict_controlled": ("Verdict, many points", None, "With at most 5 % false flags among all flagged (Benjamini and Hochberg 1995)"),
    "p_told_apart": ("p", "%.3g", "Chance that a model which never saw the instance is at least as sure of it"),
    "original": ("Before", "%.3g", "φ of the original model: logit-scaled confidence in the given label, 0 = even odds"),
    "unlearned": ("After", "%.3g", "φ of the unlearned model"),
    "mean": ("Never seen", "%.3g", "Mean φ of the retrained models"),
    "low": ("from", "%.3g", "One more model that never saw the instance lies in this range in 90 % of cases"),
    "high": ("to", "%.3g", "One more model that never saw the instance lies in this range in 90 % of cases"),
    "detectable": (
        "Smallest visible shift",
        "%.3g",
        "In logits: a smaller remaining trace would go unseen in more than one of five cases",
    ),
    "way": ("Share of the way", "%.2f", "0 = nothing changed, 1 = as never seen, above 1 = too far"),
    "nearest_retained": ("Nearest retained", None, "The most similar instance that stays in the data; retrained models learned it too"),
    "memorisation": ("Memorisation", "%.2f", "How much more often models that saw the instance get it right than models that did not"),
    "difficulty": ("Difficulty", "%.3g", "How unsure models are that never saw the instance: minus their mean φ"),
}


def draw(run: Run, found: Original) -> None:
    st.caption(
        "Each forgotten instance is compared with models that were retrained without it: does this model still know it better than they do? "
        "A model trained without an instance can be sure of it as well, when its like stays in the data."
    )
    misclassify = methods.info(run.spec.method).goal == "misclassify"
    if misclassify:
        st.info(
            "This method aims at wrong answers on the forgotten instances. Retraining does not aim at that, so being told apart from "
            "retrained models is no failure of this method here: what it wants is the share answered wrongly.",
            icon=":material/flag:",
        )
        block(run, "instances.misclassified")
    said = report.instances(run)
    if said:
        view = run.views["instances"]
        _how_many(run, view, said)
        _needles(run, view)
        _one(run, found, view)
        _set(run)
        shown = SHARES
    else:
        _lacking(run, found)
        shown = (*SHARES, "instances.uniformity")
    deciding.before_and_after(run, found)
    for family in shown:
        block(run, family)
    if not misclassify:
        known = evidence.definition("instances.misclassified")
        st.markdown(f"##### {known.title}")
        missing([Measure(known.id, "forget", reason="only for methods whose goal is misclassification")])


def _how_many(run: Run, view: dict[str, np.ndarray], said: list[str]) -> None:
    counted = waffles(view)
    for sentence in said:
        st.markdown(f"**{sentence}**")
    st.caption(f"{counted['controlled'].flagged}.")
    fig = instance_figures.waffle(view)
    if len(view["ids"]) > instance_figures.CELLS:
        st.caption(f"Each cell is 1 % of the {len(view['ids']):,} instances.")
    else:
        st.caption("Each cell is one instance, the same in both models' pictures; of the retrained models it shows how many on average.")
    beside = counted["unlearned"].retrained
    data = pd.DataFrame(
        {
            "verdict": NAMES,
            "original": [counted["original"].counts[name] for name in NAMES],
            "unlearned": [counted["unlearned"].counts[name] for name in NAMES],
            "retrained_mean": [beside[name][0] for name in NAMES],
            "retrained_sd": [beside[name][1] for name in NAMES],
        }
    )
    chart(run, "instances.waffle", fig, f"Waffle chart: {counted['unlearned'].text}", data)


def _needles(run: Run, view: dict[str, np.ndarray]) -> None:
    st.markdown("##### Before and after, instance by instance")
    if len(view["ids"]) > instance_figures.MOST:
        st.caption(f"The {instance_figures.MOST} most extreme of {len(view['ids'])} instances; the table below has all.")
    chart(
        run,
        "instances",
        instance_figures.needles(view),
        "Confidence in each forgotten instance before and after, with what retrained models give",
    )


@st.fragment
def _one(run: Run, found: Original, view: dict[str, np.ndarray]) -> None:
    """One instance, chosen from a list or in the table of all; the table's selection is the one truth."""
    audit = pooling.audit(run, found)
    frame = _frame(run, found, view, pooling.columns(found, audit))
    ids = frame["id"].tolist()
    picked, rows = f"instances.one.{run.key}", f"instances.rows.{run.key}"

    def select() -> None:
        st.session_state[rows] = {"selection": {"rows": [ids.index(st.session_state[picked])], "columns": [], "cells": []}}

    place = next(iter(st.session_state.get(rows, {}).get("selection", {}).get("rows", [])), 0)
    st.session_state[picked] = ids[place]
    names = {i: f"{i}: {label}, {verdict}" for i, label, verdict in zip(ids, frame["label"], frame["verdict"], strict=True)}
    st.markdown("##### One instance")
    st.selectbox("Instance", ids, format_func=names.get, key=picked, on_change=select, help="Or tick a row of the table below.")
    left, right = st.columns([1, 3], gap="medium")
    row = frame.iloc[place]
    at = int(np.flatnonzero(view["ids"] == row["id"])[0])
    with left:
        _pictures(found, row)
    with right:
        never = {key: float(view[key][at]) for key in ("mean", "scale", "dof")}
        saw = pooling.saw(audit, int(row["id"]))
        fig = instance_figures.bells(never, saw, float(view["original"][at]), float(view["unlearned"][at]), view["retrained"][:, at])
        chart(run, "instances.bells", fig, f"Instance {row['id']}: where models that never saw it stand, and how the needle moved")
    st.markdown("\n".join(f"- {sentence}" for sentence in _in_words(view, at)))
    if saw is None:
        st.caption("The bell of models that saw the instance comes with an audit by shadow models (section Shadows).")
    _table(run, found, frame, rows)


def _pictures(found: Original, row: pd.Series) -> None:
    near = row["nearest_retained"]
    shown = {f"Instance {row['id']}, given label {plain(row['label'])}": row["id"]}
    if not pd.isna(near):
        shown[f"Nearest retained: {near}, {plain(found.words('target', [found.row_of[near]])[0])}"] = near
    for title, i in shown.items():
        if found.sprite:
            st.image(thumbnail(found, i, 112), caption=title, width=112, alt=title)
        else:
            st.caption(f"{title}  \n{plain(found.texts[found.row_of[i]])}")


def _in_words(view: dict[str, np.ndarray], at: int) -> list[str]:
    """The numbers of one instance in sentences."""
    verdict, p, shift = view["verdict"][at], view["p_told_apart"][at], view["detectable"][at]
    each = Counter(np.array(NAMES)[view["verdict_retrained"][:, at]].tolist())
    way = view["way"][at]
    moved = "" if np.isnan(way) else f" It went {way:.0%} of the way from the original to the middle of never seen.".replace("-", "−")
    return [
        f"**{verdict.capitalize()}**: {MEANINGS[verdict]}.{moved}",
        f"{'p = ' + format(p, '.2g') if p >= 0.0001 else 'p < 0.0001'}: the chance that a model which never saw it is at least this sure of it. "
        "Below 0.05 it is still told apart, above 0.95 over-forgotten.",
        f"Smallest shift that could have been detected: {shift:.2g} logits. A smaller trace would go unseen in more than one of five cases.",
        f"The {len(view['retrained'])} retrained models, each judged in the same way by the others: {each[NOT]} {NOT}, {each[STILL]} {STILL}, "
        f"{each[OVER]} {OVER}.",
    ]


def _frame(run: Run, found: Original, view: dict[str, np.ndarray], more: pd.DataFrame | None) -> pd.DataFrame:
    """One row an instance, the most told apart first, with all numbers and what `more` adds by id."""
    gone = set(run.spec.gone)
    frame = numbers(view, "ids").rename(columns={"ids": "id"})
    frame["label"] = found.words("target", [found.row_of[i] for i in view["ids"].tolist()])
    near = [next((int(i) for i in found.arrays["neighbours"][found.row_of[i]] if int(i) not in gone), None) for i in view["ids"].tolist()]
    frame["nearest_retained"] = pd.array(near, "Int64")
    if more is not None:
        frame = frame.merge(more, "left", "id")
    first = [name for name in COLUMNS if name in frame]
    return frame.sort_values("p_told_apart", kind="stable", ignore_index=True)[[*first, *frame.columns.difference(first, sort=False)]]


def _table(run: Run, found: Original, frame: pd.DataFrame, key: str) -> None:
    config = {
        name: st.column_config.NumberColumn(header, format=shape, help=told)
        if frame[name].dtype.kind in "fi"
        else st.column_config.TextColumn(header, help=told)
        for name, (header, shape, told) in COLUMNS.items()
        if name in frame
    }
    name, cells, config["seen"] = seen(found, frame["id"].tolist())
    shown = frame[list(config.keys() - {"seen"})].assign(seen=cells)
    st.dataframe(
        shown,
        hide_index=True,
        column_config=config,
        column_order=["seen", *(column for column in COLUMNS if column in frame)],
        key=key,
        height="content" if len(shown) <= 10 else 420,
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [0]}},
        alt="All forgotten instances with their verdicts",
    )
    st.download_button(
        "CSV",
        lambda: (frame if name == PICTURE else frame.assign(**{name: cells})).to_csv(index=False),
        f"{run.key[:8]}-instances.csv",
        "text/csv",
        key="instances.csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _set(run: Run) -> None:
    view, distance = run.views["uniformity"], run.measure("instances.uniformity.forget")
    k = len(view["retrained"])
    calibrated, plain_p = float(view["p_calibrated"]), float(view["p_plain"])
    as_far = round(calibrated * (1 + k)) - 1
    note = (
        f"**All p-values together lie {distance.unlearned:.2f} from uniform; as far or farther: {as_far} of {k} retrained models "
        f"(calibrated p = {calibrated:.2f}; {k} models can give {1 / (1 + k):.2f} at the least).** The plain Kolmogorov–Smirnov test "
        f"(p = {plain_p:.2g}) and the grey band take instances for independent, which they are not: those of one model move together, "
        "as the thin lines of the retrained models show. So the verdict compares with those."
    )
    block(run, "instances.uniformity", instance_figures.qq(view), note, numbers(view, "expected"))


def _lacking(run: Run, found: Original) -> None:
    """What verdicts on single instances still need, and how to get it."""
    asked, there = run.spec.retrains, run.retrained
    if asked >= ENOUGH and there < asked:
        st.info(
            f"{there} of {asked} retrained models are there. Verdicts on single instances need {ENOUGH}; they appear here when all are there.",
            icon=":material/hourglass_top:",
        )
    elif there < ENOUGH:
        alone = run.timings["retrained"] or [found.meta["seconds"]]
        cost = report.seconds((WISHED - there) * float(np.mean(alone)))
        st.info(
            f"Verdicts on single instances need {ENOUGH} retrained models; this run has {there}. Ask for {WISHED} retrained models in the form "
            f"(Unlearn, “Retrained models”) and unlearn again: at most about {cost} of computing in the background, "
            "since those that are there are used again.",
            icon=":material/add_circle:",
        )
    elif "instances" in run.views:
        st.info("An earlier version computed this run without what is shown here. Unlearn again to get it.", icon=":material/update:")
