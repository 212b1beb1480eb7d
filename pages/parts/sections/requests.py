"""Several requests in a row: what each was, whether it stays forgotten, and how far the model drifted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.blocks import block, chart
from unlearn_core import methods, report
from unlearn_core.figures import requests as requests_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    count = len(run.spec.requests)
    st.caption(
        f"This model went through {count} requests, each from where the one before ended. All evidence here is about the {len(run.spec.gone):,} instances "
        "of all requests together: the original knew them all, the retrained models know none of them."
    )
    view = run.views["requests"]
    st.dataframe(_table(run, view["seconds"]), hide_index=True, key=f"requests.{run.key}", height="content", column_config=COLUMNS)
    if run.timings["retrained"]:
        total, anew = view["seconds"].sum(), count * float(np.mean(run.timings["retrained"]))
        st.caption(f"Together {report.seconds(total)}; to retrain at every request would have taken about {report.seconds(anew)}.")
    names = [f"request {k}" for k in range(1, count + 1)]
    left, right = st.columns(2, gap="large")
    with left:
        js = view.get("js")
        others = view.get("retrained_js")
        apart = dict(zip(names, others.T, strict=True)) if others is not None else {}
        fig = None if js is None else requests_figures.course(dict(zip(names, js, strict=True)), apart, y="divergence (bits)")
        block(run, "requests.js", fig, data=_numbers(view, names, "js"))
    with right:
        accuracy = dict(zip(names, view["accuracy"], strict=True))
        apart = dict(zip(names, view["retrained_accuracy"].T, strict=True))
        fig = requests_figures.course(accuracy, apart, y="accuracy", share=True)
        block(run, "requests.accuracy", fig, data=_numbers(view, names, "accuracy"))
    left, right = st.columns(2, gap="large")
    with left:
        fresh = run.measure("requests.drift.retain").retrained
        fig = requests_figures.course(
            {"drift": view["drift"]}, {"drift": fresh.values} if fresh else {}, y="divergence from the original (bits)"
        )
        block(run, "requests.drift", fig, data=pd.DataFrame({"model": requests_figures.steps(count + 1), "drift": view["drift"]}))
    with right:
        st.markdown("##### Usefulness over the requests")
        st.caption("Accuracy on the instances that stay and on test instances after each request; at the right, the retrained models.")
        kept = {"retained": view["retain"], "test": view["test"]}
        retrained = {"retained": view["retrained_retain"], "test": view["retrained_test"]}
        fig = requests_figures.course(kept, retrained, y="accuracy", share=True)
        data = pd.DataFrame({"model": requests_figures.steps(count + 1)} | kept)
        chart(run, "requests.usefulness", fig, "Accuracy on retained and test instances after each request", data)


def _table(run: Run, seconds: np.ndarray) -> pd.DataFrame:
    rows = []
    for place, (spec, spent) in enumerate(zip(run.spec.requests, seconds.tolist(), strict=True), 1):
        alpha = spec.params.get("alpha")
        about = {"request": place, "method": methods.info(spec.method).title, "α": "" if alpha is None else str(alpha)}
        rows.append(about | {"instances": len(spec.forget), "seconds": spent, "run": f"/studio?run={spec.key}"})
    return pd.DataFrame(rows)


def _numbers(view: dict[str, np.ndarray], names: list[str], what: str) -> pd.DataFrame:
    """One row for each request and model of the way."""
    if what not in view:
        return pd.DataFrame()
    frame = pd.DataFrame(view[what], index=names, columns=requests_figures.steps(view[what].shape[1]))
    return frame.reset_index(names="request")


COLUMNS = {
    "run": st.column_config.LinkColumn(display_text=r"run=(.{8})", help="Opens the run of that request"),
    "seconds": st.column_config.NumberColumn(format="%.2f", help="What the method took for this request"),
}
