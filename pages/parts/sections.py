"""The evidence of one run, section by section. Numbers come from the run, drawings from figures."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts import jobs
from pages.parts.backend import backend
from pages.parts.blocks import block, chart, missing, numbers
from pages.parts.gallery import thumbnail
from pages.parts.plain import plain
from unlearn_core import report
from unlearn_core.errors import BadInput
from unlearn_core.figures import boundary as boundary_figures
from unlearn_core.figures import instances as instance_figures
from unlearn_core.figures import privacy as privacy_figures
from unlearn_core.figures import structure as structure_figures
from unlearn_core.figures import utility as utility_figures
from unlearn_core.figures.base import label
from unlearn_core.runs import api
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original


def utility(run: Run, found: Original) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "utility.accuracy", utility_figures.accuracy(run.family("utility.accuracy")))
    with right:
        block(run, "utility.loss", utility_figures.loss(run.family("utility.loss")))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Accuracy of every class")
        group = st.segmented_control("Instances", ["test", "retain"], default="test", key="per_class.group", required=True)
        view = run.views["per_class"]
        data = numbers({"class": view["names"]} | _of(view, lambda name: name.removesuffix(f"_{group}")), "class")
        chart(run, f"per_class.{group}", utility_figures.per_class(view, group), "Accuracy of every class", data)
        st.caption(
            "A class that loses more than the others is a new bias. The band is where one further retrained model would be expected."
        )
    with right:
        ratio = run.measure("utility.cost.ratio")
        block(run, "utility.seconds", utility_figures.cost(run.measure("utility.seconds.method"), ratio))
        block(run, "utility.cost")
    left, right = st.columns(2, gap="large")
    with left:
        block(
            run,
            "utility.calibration",
            utility_figures.group_triples(run.family("utility.calibration"), "utility.calibration", "expected calibration error"),
        )
    with right:
        block(run, "utility.accuracy_gap")


def boundary(run: Run, found: Original) -> None:
    names = tuple(found.meta["class_names"])
    if "regions" in run.views:
        regions(run, found, names)
    view = run.views["margins"]
    named = {name: np.array(names)[array] for name, array in view.items() if name == "label" or name.startswith("predicted_")}
    note = "The chart shows forgotten instances and their nearest retained ones; the decision boundary is exactly at 0."
    block(run, "boundary.margin", boundary_figures.margin_arrows(view, names), note, _by_id(view | named))
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
        boundary_figures.regions(run.views["regions"], inputs, labels, found.ids, np.array(run.spec.forget), names, wrong),
    )


def _plane(run: Run, found: Original, names: tuple[str, ...]) -> None:
    views, triplet = run.views, None
    with st.expander("Choose the plane's three instances"):
        st.caption(
            "A plane through a forgotten instance (first), one like it and one of a rival class shows exactly how the boundary between them moved."
        )
        default = [int(i) for i in views["plane"]["corner_ids"]] if "plane" in views else [*run.spec.forget[:1], *found.ids[:2].tolist()]
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
        pictures = [_data_uri(found, int(i)) for i in views["plane"]["corner_ids"]] if found.sprite else None
        block(run, "boundary.plane_agreement", boundary_figures.plane(views["plane"], names, pictures))
    else:
        missing(run.family("boundary.plane_agreement"))
    if views and "segment" in views:
        st.markdown("##### Along the way between the instances")
        view = views["segment"]
        chart(
            run,
            "-".join(["segment", *map(str, triplet or ())]),
            boundary_figures.segment(view, names),
            "Probability of the given label along a straight line",
            numbers(view, "t"),
        )


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


def _data_uri(found: Original, instance: int) -> str:
    return "data:image/png;base64," + base64.b64encode(thumbnail(found, instance)).decode() if instance in found.row_of else ""


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


def structure(run: Run, found: Original) -> None:
    kept = run.family("structure.knn_overlap")
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "structure.knn_overlap", structure_figures.kept_neighbours(kept, [label(m) for m in kept]))
    with right:
        st.markdown("##### Kept neighbours, instance by instance")
        st.caption("Left half: the unlearned model. Right half: the retrained models.")
        view = run.views["kept"]
        data = _by_id(
            {name: array for name, array in view.items() if name != "probe"}
            | {"group": np.array(structure_figures.GROUP_NAMES)[view["group"]]}
        )
        chart(run, "kept", structure_figures.kept_by_group(view), "Kept neighbours of single instances by group", data)
    if found.sprite and "neighbours" in run.views:
        _neighbours(run, found)
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
    for family, unit in (
        ("structure.knn_overlap_to_retrained", "share of neighbours"),
        ("structure.residual_similarity", "0 as after retraining, 1 unchanged"),
        ("structure.preservation", "1 = as two retrained models"),
    ):
        block(run, family, _rows(run, family, unit))


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


def _rows(run: Run, family: str, unit: str):
    measures = [m for m in run.family(family) if m.unlearned is not None]
    return structure_figures.measure_rows(measures, [label(m) for m in measures], x=unit, null="two retrained models") if measures else None


def privacy(run: Run, found: Original) -> None:
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


def _by_id(view: dict[str, np.ndarray]) -> pd.DataFrame:
    return numbers(view, "ids").rename(columns={"ids": "id"})


def _of(view: dict[str, np.ndarray], short: Callable[[str], str]) -> dict[str, np.ndarray]:
    """The part of a view whose names `short` shortens, under the short names."""
    return {short(name): array for name, array in view.items() if short(name) != name}


def _pairs(view: dict[str, np.ndarray], class_names: list[str]) -> pd.DataFrame:
    """Matrices [C, C] over classes, one row for each pair."""
    names = np.array(class_names)[view["classes"]]
    count = len(names)
    first = {"class": np.repeat(names, count), "other": np.tile(names, count)}
    flat = {name: array.reshape(*array.shape[:-2], count**2) for name, array in view.items() if name != "classes"}
    return numbers(first | flat, "class")


def _scores(view: dict[str, np.ndarray]) -> pd.DataFrame:
    parts = {group: _by_id(_of(view, lambda name, head=f"{group}.": name.removeprefix(head))) for group in ("forget", "test")}
    return pd.concat([part.assign(group=group) for group, part in parts.items()])


def instances(run: Run, found: Original) -> None:
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
        frame.insert(0, "picture", [_data_uri(found, i) for i in view["ids"].tolist()])
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


def files(run: Run, found: Original) -> None:
    st.caption(
        "The bundle holds the weights (safetensors), the specification and every number; with it a run can be replayed and checked. "
        "The arrays hold what the charts draw: one array for each view and model, to be read with numpy.load."
    )
    stem = f"{run.spec.original.dataset}-{run.spec.method}-{run.key[:8]}"
    bar = st.columns(4)
    bar[0].download_button(
        "Model (safetensors)",
        run.model_path.read_bytes(),
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
    st.markdown("##### Specification of this run")
    st.json(run.spec.to_dict(), expanded=False)


SECTIONS = {"Utility": utility, "Boundary": boundary, "Structure": structure, "Privacy": privacy, "Instances": instances, "Files": files}
