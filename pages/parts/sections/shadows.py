"""A run audited with shadow models: asking for the audit, its progress, and what the attacks find."""

from __future__ import annotations

import numpy as np
import streamlit as st

from pages.parts import jobs, pooling
from pages.parts.backend import backend
from pages.parts.blocks import block, by_id, chart, missing, numbers, refused, table
from pages.parts.gallery import PICTURE, seen
from unlearn_core import evidence
from unlearn_core.evidence.forgetting_quality import LEAST
from unlearn_core.evidence.shadows import ATTACKS, EVIDENCE
from unlearn_core.figures import privacy as privacy_figures
from unlearn_core.figures.structure import measure_rows
from unlearn_core.runs import api
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import AuditSpec

METHOD = ("shadows.u_lira", "shadows.u_lira_retrain", "shadows.looks_forgotten", "shadows.forgetting_quality")


def draw(run: Run, found: Original) -> None:
    st.info(
        "Shadow models are trained on random parts of the data, so for every instance some saw it and some did not. Each forgotten instance is "
        "compared with its own shadows: that finds what average-case attacks overlook. Half of the shadows choose points for the map; only "
        "the other half judges here.",
        icon=":material/groups:",
    )
    spec = _asked(run, found)
    audit = api.load_audit(backend().store, spec)
    if audit is None:
        _progress_or_button(run, found, spec)
        missing(run.family("shadows.lira_online"))
        _definitions("What an audit shows", [known.id for known in EVIDENCE.definitions])
        return
    run = api.audited(run, audit)
    if audit.retrained < run.retrained:
        st.caption(f"Judged when {audit.retrained} of the {run.retrained} retrained models were there.")
    _set(run)
    _single(run, found)
    _method(run, spec)


def _asked(run: Run, found: Original) -> AuditSpec:
    """The widgets that say which audit is meant."""
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    under_way = next((job for job in backend().store.jobs("audit") if job.key.startswith(run.key) and not job.ended), None)
    stored = AuditSpec.from_dict(under_way.spec) if under_way else getattr(pooling.audit(run, found), "spec", None)
    members = pooling.members_field(left, found, f"audit.members.{run.key}", stored and stored.pool.members)
    seconds = run.timings.get("method", 0.0) * (members // 2 + (run.retrained // 2 if run.retrained >= 2 * LEAST else 0))
    u_lira = right.checkbox(
        f"Also run the method on the {members // 2} judging shadows (U-LiRA, F): about {seconds:.0f} s more",
        value=under_way.spec["u_lira"] if under_way else _spec(run, found, members, True).key in _there(run),
        key=f"audit.u_lira.{run.key}",
        help="The strictest test: can forgetting be told from never having seen, when the attacker knows the method?",
    )
    return _spec(run, found, members, u_lira)


def _there(run: Run) -> set[str]:
    """Keys of this run's stored audits."""
    return {folder.name for folder in backend().store.place("audits", run.key).parent.glob(f"{run.key}-*")}


def _spec(run: Run, found: Original, members: int, u_lira: bool) -> AuditSpec:
    return AuditSpec(run.spec, api.pool_spec(found, members, run.spec.device), u_lira)


def _progress_or_button(run: Run, found: Original, spec: AuditSpec) -> None:
    store = backend().store
    job = store.job(spec.key)
    if job and job.status != "done":
        jobs.panel(spec.key, "the audit with shadow models", lambda: api.submit_audit(store, spec), curves=False)
        return
    pooling.cost(spec.pool, found)
    if st.button("Audit with shadow models", key=f"audit.{run.key}", type="primary", icon=":material/groups:"):
        api.submit_audit(store, spec)
        st.rerun()


def _set(run: Run) -> None:
    st.markdown("##### Forgotten or never seen: four attacks with shadow models")
    st.caption(
        "For the set as a whole. The goal is the blue band of retrained models, not 0.5: instances that were picked for something are unlike the "
        "test instances that they are compared with. Dotted frame: what chance gives for two alike sets; bar: 95 % interval of the unlearned value (DeLong)."
    )
    families = [f"shadows.{name}" for name in ATTACKS]
    measures = [m for family in families for m in run.family(family)]
    shown = [m for m in measures if m.unlearned is not None]
    left, right = st.columns(2, gap="large")
    with left:
        if shown:
            labels = [ATTACKS[m.family.removeprefix("shadows.")] for m in shown]
            fig = privacy_figures.auc_rows(shown, labels, x="AUC")
            chart(run, "shadow.attacks", fig, "Area under the ROC curve of each attack with shadow models")
        missing(measures)
    with right:
        _roc(run)
    _definitions("What each attack does", families)
    refused(measures)
    with st.expander("Table: attacks with shadow models"):
        table(measures, f"{run.key}.shadow.attacks")
    block(run, "shadows.lira_found")


def _definitions(title: str, families: list[str]) -> None:
    with st.expander(title):
        for known in map(evidence.definition, families):
            st.markdown(f"**{known.title}.** {known.text} Source: {known.source}.")


def _roc(run: Run) -> None:
    curves = run.views["shadow_roc"]
    there = [name for name in ATTACKS if f"{name}.fpr" in curves]
    if not there:
        return
    name = st.segmented_control("Attack", there, format_func=ATTACKS.get, default=there[0], key="shadow.roc", required=True)
    view = {key.removeprefix(f"{name}."): values for key, values in curves.items() if key.startswith(f"{name}.")}
    fig = privacy_figures.roc_curves(view, log=True)
    chart(run, f"shadow.roc.{name}", fig, f"ROC curves of {ATTACKS[name]}, both axes logarithmic", numbers(view, "fpr"))
    st.caption("What is found when few may be wrongly accused: the left end is what an attacker cares about.")


def _single(run: Run, found: Original) -> None:
    st.markdown("##### Instance by instance, judged by the pool")
    st.caption(
        f"{run.views['shadow_check']['text'].item()}. The section Instances judges by models retrained without exactly this set; where both are there, believe that one."
    )
    if refused := run.views["shadow_check"]["refused"].item():
        st.warning(f"No verdicts: {refused}.", icon=":material/block:")
    view = run.views["shadow_instances"]
    frame = by_id({name: array for name, array in view.items() if not name.endswith((".dof", ".n"))}).drop(columns="label")
    frame.insert(1, "label", np.array(found.meta["class_names"])[view["label"]])
    shown = [
        "id",
        "label",
        "original",
        "unlearned",
        "never.mean",
        "saw.mean",
        "p",
        "verdict",
        "verdict_original",
        "memorisation",
        "difficulty",
        "exposure",
    ]
    config = {name: st.column_config.NumberColumn(format="%.3g") for name in shown if frame[name].dtype.kind == "f"}
    config |= {
        "never.mean": st.column_config.NumberColumn(
            "never saw it", format="%.3g", help="Mean logit-scaled confidence of shadows that never saw the instance"
        ),
        "saw.mean": st.column_config.NumberColumn("saw it", format="%.3g", help="Mean logit-scaled confidence of shadows that saw it"),
        "p": st.column_config.NumberColumn(
            format="%.3g", help="Chance that a model which never saw the instance is at least as sure of it"
        ),
        "verdict_original": st.column_config.TextColumn("verdict on the original"),
        **pooling.HELP,
    }
    name, cells, config[name] = seen(found, frame["id"].tolist())
    frame.insert(0, name, cells)
    shown = [name, *shown]
    st.dataframe(frame[shown], hide_index=True, column_config=config, key=f"shadow.table.{run.key}", height=320)
    st.download_button(
        "CSV",
        lambda: frame.drop(columns=PICTURE, errors="ignore").to_csv(index=False),
        f"{run.key[:8]}-shadows.csv",
        "text/csv",
        key="shadow.csv",
        icon=":material/download:",
        on_click="ignore",
    )
    left, right = st.columns(2, gap="large")
    with left:
        block(run, "shadows.told_apart")
    with right:
        block(run, "shadows.over_forgotten")


def _method(run: Run, spec: AuditSpec) -> None:
    st.markdown("##### The method itself, run on every judging shadow")
    if not spec.u_lira:
        st.caption("Not computed: tick the box above to run the method on the shadows.")
        _definitions("What that would show", list(METHOD))
        return
    left, right = st.columns(2, gap="large")
    for place, family in enumerate(METHOD):
        with (left, right)[place % 2]:
            block(run, family, _rows(run, family, "AUC" if "u_lira" in family else ""))


def _rows(run: Run, family: str, unit: str):
    measures = [m for m in run.family(family) if m.unlearned is not None]
    return measure_rows(measures, [f"forgotten<br>n = {m.n:,}" for m in measures], x=unit, null="chance or null") if measures else None
