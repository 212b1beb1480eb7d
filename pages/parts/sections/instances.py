"""Each forgotten instance by itself: still told apart from never seen, or not."""

from __future__ import annotations

import numpy as np
import streamlit as st

from pages.parts.blocks import block, chart, numbers
from pages.parts.gallery import data_uri
from unlearn_core import report
from unlearn_core.figures import instances as instance_figures
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    st.caption(
        "Each forgotten instance is compared with models that were retrained without it: does this model still know it better than they do? "
        "A model trained without an instance can be sure of it as well, when its like stays in the data."
    )
    if "instances" in run.views:
        for sentence in report.instances(run):
            st.markdown(f"**{sentence}**")
        view = run.views["instances"]
        if len(view["ids"]) > instance_figures.MOST:
            st.caption(f"The chart shows the {instance_figures.MOST} most extreme of {len(view['ids'])} instances; the table has all.")
        chart(
            run,
            "instances",
            instance_figures.needles(view),
            "Confidence in each forgotten instance before and after, with what retrained models give",
        )
        _instance_table(run, found, view)
    for family in ("instances.told_apart", "instances.over_forgotten"):
        block(run, family)


def _instance_table(run: Run, found: Original, view: dict[str, np.ndarray]) -> None:
    gone = set(run.spec.forget)
    frame = numbers(view, "ids").drop(columns="label").rename(columns={"ids": "id", "low": "never seen from", "high": "to"})
    near = [next((int(i) for i in found.arrays["neighbours"][found.row_of[i]] if int(i) not in gone), None) for i in view["ids"].tolist()]
    frame.insert(1, "label", np.array(found.meta["class_names"])[view["label"]])
    frame.insert(2, "nearest retained", near)
    config = {name: st.column_config.NumberColumn(format="%.3g") for name in frame.columns if frame[name].dtype.kind == "f"}
    if found.sprite:
        frame.insert(0, "picture", [data_uri(found, i) for i in view["ids"].tolist()])
        config["picture"] = st.column_config.ImageColumn()
    config |= {
        "verdict": st.column_config.TextColumn(help="At 5 % in each direction: about 10 % of exactly retrained answers are flagged too"),
        "verdict_controlled": st.column_config.TextColumn(
            "verdict, many points", help="With at most 5 % false flags among all flagged instances (Benjamini and Hochberg 1995)"
        ),
        "p_told_apart": st.column_config.NumberColumn(
            "p", format="%.3g", help="Chance that a model which never saw the instance is at least as sure of it"
        ),
        "detectable": st.column_config.NumberColumn(
            "smallest visible shift",
            format="%.3g",
            help="In logits: a smaller remaining trace would go unseen in more than one of five cases",
        ),
        "way": st.column_config.NumberColumn(
            "share of the way", format="%.2f", help="0 = nothing changed, 1 = as never seen, above 1 = too far"
        ),
    }
    shown = [name for name in frame.columns if not name.startswith("retrained_")]
    st.dataframe(frame[shown], hide_index=True, column_config=config, key=f"instances.{run.key}", height=420)
    st.download_button(
        "CSV",
        lambda: frame.drop(columns="picture", errors="ignore").to_csv(index=False),
        f"{run.key[:8]}-instances.csv",
        "text/csv",
        key="instances.csv",
        icon=":material/download:",
        on_click="ignore",
    )
