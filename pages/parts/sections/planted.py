"""What was planted on purpose: the measure that tells success, next to the standard evidence of the same run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.blocks import VERDICTS, block
from unlearn_core import evidence
from unlearn_core.data.scenarios import of_planting
from unlearn_core.evidence.planted import EVIDENCE, twins_staying
from unlearn_core.figures.base import GROUPS, label, triples
from unlearn_core.figures.utility import bounded_axis, share_axis
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original

STANDARD = ("utility.accuracy.forget", "utility.loss.forget", "utility.accuracy.retain", "utility.accuracy.test")
NAMES = {
    "triggered": "with the mark",
    "clean": "without the mark",
    "twin stays": "a twin stays",
    "no twin": "no twin",
    "unseen": "theirs, never seen",
}


def draw(run: Run, found: Original) -> None:
    for note in asked(run, found):
        st.markdown(note)
    families = [d.id for d in EVIDENCE.definitions if run.family(d.id)]
    left, right = st.columns(2, gap="large")
    with left:
        for family in families:
            measures = [m for m in run.family(family) if m.unlearned is not None]
            labels = [f"{NAMES[m.group]}<br>n = {m.n:,}" if m.group in NAMES else label(m) for m in measures]
            unit = evidence.definition(family).unit
            fig = triples(measures, labels, x={"share": "", "nats": "loss (nats)"}[unit]) if measures else None
            if fig is not None:
                fig = share_axis(fig) if unit == "share" else bounded_axis(fig, low=0.0)
            block(run, family, fig)
    with right:
        st.markdown("##### The standard evidence on the same run")
        st.caption(
            "What can be measured without knowing what was planted. Where the left says that the planted thing is still there and nothing here "
            "does, the standard evidence alone would have missed it."
        )
        _standard(run)


def _standard(run: Run) -> None:
    known = {m.id: m for m in run.measures}
    rows = [
        {
            "measure": f"{evidence.definition(m.family).title}, {GROUPS[m.group]}",
            "original": m.original,
            "unlearned": m.unlearned,
            "retrained": m.retrained.mean if m.retrained else None,
            "verdict": m.verdict() or "",
        }
        for m in (known[id] for id in STANDARD if id in known)
    ]
    config = {name: st.column_config.NumberColumn(format="%.3g", width=70) for name in ("original", "unlearned", "retrained")}
    config |= {"measure": st.column_config.TextColumn(width=120), "verdict": st.column_config.TextColumn(width=100, help=VERDICTS)}
    frame = pd.DataFrame(rows)
    frame = frame if run.retrained else frame.drop(columns=["retrained", "verdict"])
    st.dataframe(frame, hide_index=True, column_config=config, key=f"standard.{run.key}", height="content")


def asked(run: Run, found: Original) -> list[str]:
    """How much of each planted set is forgotten, and what a success looks like."""
    gone, said = np.array(run.spec.gone), []
    planted = {name: np.array(ids, np.int64) for name, ids in found.meta["planted"].items() if ids}
    parts = [f"{np.isin(ids, gone).sum():,} of {len(ids):,} {name}" for name, ids in planted.items()]
    said.append(f"Forgotten of what was planted: {', '.join(parts)}.")
    scenario = of_planting(next(iter(planted), ""), found.spec.dataset)
    if scenario:
        said.append(f"**Success here:** {scenario.success}")
    if "twins" in planted and (staying := len(twins_staying(planted, gone)[0])):
        said.append(
            f":material/content_copy: **Of {staying:,} forgotten instances an almost equal twin is still in the data.** To delete one copy is no "
            "deletion while a twin stays: also a model that is retrained without it learns the same from the twin. Find and delete the twins too."
        )
    return said
