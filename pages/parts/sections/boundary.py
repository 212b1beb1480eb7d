"""How the decision boundary moved: margins, exact regions and planes, flips, the overview map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts import jobs
from pages.parts.backend import backend
from pages.parts.blocks import block, by_id, chart, missing, numbers
from pages.parts.gallery import data_uri
from pages.parts.mapping import snippet
from pages.parts.plain import plain
from unlearn_core.errors import BadInput
from unlearn_core.figures import boundary as boundary_figures
from unlearn_core.runs import api
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def draw(run: Run, found: Original) -> None:
    names = tuple(found.meta["class_names"])
    if "regions" in run.views:
        regions(run, found, names)
    view = run.views["margins"]
    named = {name: np.array(names)[array] for name, array in view.items() if name == "label" or name.startswith("predicted_")}
    note = "The chart shows forgotten instances and their nearest retained ones; the decision boundary is exactly at 0."
    block(run, "boundary.margin", boundary_figures.margin_arrows(view, names), note, by_id(view | named))
    if "regions" not in run.views:
        _plane(run, found, names)
    for family in ("boundary.flips", "boundary.agreement", "boundary.js"):
        block(run, family, boundary_figures.closeness(run.family(family), family))
    if "overview" in run.views:
        _overview(run, names)


def regions(run: Run, found: Original, names: tuple[str, ...]) -> None:
    """The exact decision regions of a run on points in the plane."""
    total = found.meta["total"]
    inputs, labels = np.zeros((total, 2)), np.zeros(total, int)
    inputs[found.ids], labels[found.ids] = found.layout("input"), found.arrays["label"]
    planted = found.meta["planted"].get("mislabelled")
    wrong = np.array(planted) if planted else None
    block(
        run,
        "boundary.region_change",
        boundary_figures.regions(run.views["regions"], inputs, labels, found.ids, np.array(run.spec.gone), names, wrong),
    )


def _plane(run: Run, found: Original, names: tuple[str, ...]) -> None:
    views, triplet = run.views, None
    with st.expander("Choose the plane's three instances"):
        st.caption(
            "A plane through a forgotten instance (first), one like it and one of a rival class shows exactly how the boundary between them moved."
        )
        default = [int(i) for i in views["plane"]["corner_ids"]] if "plane" in views else [*run.spec.gone[:1], *found.ids[:2].tolist()]
        columns = st.columns([1, 1, 1, 1], vertical_alignment="bottom")
        ids = [
            columns[k].number_input(f"Instance {k + 1}", 0, found.meta["total"] - 1, default[k], key=f"plane.{run.key}.{k}")
            for k in range(3)
        ]
        if columns[3].button("Draw", key="plane.draw", width="stretch"):
            st.session_state["plane.wanted"] = (run.key, tuple(ids))
    wanted = st.session_state.get("plane.wanted")
    if wanted and wanted[0] == run.key:
        triplet = wanted[1]
        views = _chosen_plane(run, found, triplet)
    if views and "plane" in views:
        view = views["plane"]
        pictures = [data_uri(found, int(i)) for i in view["corner_ids"]] if found.sprite else None
        words = [_words(found, int(i)) for i in view["corner_ids"]] if found.texts else None
        note = _mixes(found.meta["modality"]) if "mixed" in view else ""
        block(run, "boundary.plane_agreement", boundary_figures.plane(view, names, pictures, words), note)
        if words:
            _corners(view, names, words)
    else:
        missing(run.family("boundary.plane_agreement"))
    if views and "segment" in views:
        st.markdown("##### Along the way between the instances")
        view = views["segment"]
        if "mixed" in view:
            st.caption(
                f"The way runs through mixes of two {NOUN[found.meta['modality']]} at a time; only its ends and its middle are real."
            )
        chart(
            run,
            "-".join(["segment", *map(str, triplet or ())]),
            boundary_figures.segment(view, names),
            "Probability of the given label along the way from one instance over the forgotten one to another",
            numbers(view, "t"),
        )


NOUN = {"text": "texts", "tabular": "rows"}
MIXING = {
    "text": "There is no text between two texts, so this slice runs through the models' embeddings, the numbers that a model has learned for words: "
    "every place mixes the words of the three texts, say 60 % of one and 40 % of another.",
    "tabular": "There is nothing between two categories, so this slice runs through the models' embeddings, the numbers that stand for a category in a "
    "model: every place mixes the three rows, and a category there can be 60 % one and 40 % another.",
}


def _mixes(modality: str) -> str:
    """What a slice through mixes of words or categories is, and what it proves."""
    noun = NOUN[modality]
    return (
        f"\n\n{MIXING[modality]} All models get the same shares, each in its own embedding; lengths are those of the original's. Only the three "
        f"corners are real {noun}. Inside the dotted triangle shares are 0 to 100 %, outside some are negative. This shows how a model passes from one "
        f"of these {noun} to another, and whether it does so like a retrained one; it proves nothing about other {noun}."
    )


def _words(found: Original, instance: int) -> str:
    """What a person reads of a training instance."""
    return found.texts[found.row_of[instance]] if instance in found.row_of else ""


def _corners(view: dict[str, np.ndarray], names: tuple[str, ...], words: list[str]) -> None:
    """The three instances at the corners of the plane, as a person reads them."""
    kept = zip(st.columns(3), "★●■", view["corner_ids"], view["corner_labels"], words, strict=True)
    for column, mark, instance, label, text in kept:
        with column:
            st.caption(f"{mark} {instance}, labelled {plain(names[label])}")
            st.markdown(plain(snippet(text, 300)))


def _chosen_plane(run: Run, found: Original, triplet: tuple[int, int, int]) -> dict | None:
    """The views of a plane through chosen instances; the run's own while those are computed, and where they cannot be."""
    store = backend().store
    try:
        outside = [i for i in triplet if i not in found.row_of]
        if outside:
            raise BadInput(
                "instances", f"{outside[0]} is not a training instance.", "Give ids of training instances; hover over the map to read them."
            )
        if len(set(triplet)) < 3:
            raise BadInput("instances", "two of them are the same.", "Give three different instances.")
    except BadInput as error:
        st.error(plain(str(error)), icon=":material/error:")
        return run.views
    key = api.submit_plane(store, run, triplet)
    views = api.load_plane(store, key)
    if views is None:
        jobs.panel(
            key,
            "the plane through three instances",
            again=lambda: store.submit(key, "plane", {"run": run.spec.to_dict(), "triplet": list(triplet)}),
            curves=False,
        )
        return run.views
    return views


def _overview(run: Run, names: tuple[str, ...]) -> None:
    view = run.views["overview"]
    layers = {
        "delta": "Original → unlearned",
        "delta_retrained": "Original → retrained",
        "delta_noise": "Retrained ↔ retrained (seed noise)",
    }
    there = [name for name in layers if name in view and np.isfinite(view[name]).any()]
    st.markdown("##### Overview map of the change")
    st.caption(
        "Context, not proof: a smoothed average of nearby instances on the fixed layout. Real flips are drawn as glyphs; places far from any instance are left out."
    )
    if there:
        layer = st.segmented_control(
            "What is compared", there, format_func=layers.get, default=there[0], key="overview.layer", required=True
        )
        highest = max(float(np.nanmax(view[name])) for name in there)
        x, y = view["flip_xy"].T
        classes = np.array(names)
        flips = pd.DataFrame(
            {"id": view["flip_ids"], "x": x, "y": y, "original": classes[view["flip_from"]], "unlearned": classes[view["flip_to"]]}
        )
        chart(run, f"overview.{layer}", boundary_figures.overview(view, names, layer, highest), "Map of where predictions changed", flips)
    for family in ("boundary.map_fidelity", "boundary.map_locates_flips", "boundary.map_change"):
        block(run, family)
