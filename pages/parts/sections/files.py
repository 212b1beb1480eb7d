"""Everything to take away: weights, measures, arrays, the specification."""

from __future__ import annotations

import streamlit as st

from pages.parts.gallery import thumbnail
from unlearn_core import models, report
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    st.caption(
        "The bundle holds the weights (safetensors), the specification and every number; with it a run can be replayed and checked. "
        "The arrays hold what the charts draw: one array for each view and model, to be read with numpy.load."
    )
    if withheld := models.info(run.spec.original.model).withheld:
        st.caption(
            f"The weights come without {' and '.join(withheld)}, which would tell about what was forgotten. Whoever has the data and the seed in "
            "the specification can compute them again."
        )
    stem = f"{run.spec.original.dataset}-{run.spec.method}-{run.key[:8]}"
    bar = st.columns(5)
    bar[0].download_button(
        "Model (safetensors)",
        lambda: report.weights(run),
        f"{stem}.safetensors",
        key="file.model",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    bar[1].download_button(
        "All measures (CSV)",
        report.to_csv(report.rows(run.measures)),
        f"{stem}.csv",
        "text/csv",
        key="file.csv",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    bar[2].download_button(
        "Bundle (zip)",
        lambda: report.bundle(run),
        f"{stem}.zip",
        "application/zip",
        key="file.zip",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    bar[3].download_button(
        "All arrays (NumPy)",
        lambda: (run.folder / "evidence.npz").read_bytes(),
        f"{stem}.npz",
        "application/octet-stream",
        key="file.npz",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    bar[4].download_button(
        "What was forgotten (zip)",
        lambda: report.forgotten(run, found, lambda i: thumbnail(found, i, max(found.meta["tile"]))),
        f"{stem}-forgotten.zip",
        "application/zip",
        key="file.forgotten",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
        help="The forgotten instances as pictures, texts or rows, with ids and labels. This is the data that shall be gone: delete it once it was checked.",
    )
    st.markdown("##### Specification of this run")
    st.json(run.spec.to_dict(), expanded=False)
