"""Ways to fill the forget set besides pointing; each says how its instances were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts import answers, pooling
from pages.parts.plain import plain
from pages.parts.state import Studio
from unlearn_core.data.choose import draw
from unlearn_core.data.forget import MAX_IMPORT_BYTES, ForgetSet, check_ids, parse_ids, read_forget_set
from unlearn_core.errors import BadInput
from unlearn_core.runs.originals import Original


def ways(state: Studio, found: Original) -> None:
    """One compact chooser; every way adds to the same forget set."""
    planted = {name: ids for name, ids in found.meta["planted"].items() if ids}
    kind = answers.STRATA[found.task]
    exposed = ["Exposed"] if found.task == "classes" else []  # shadow models tell by the confidence in a class
    names = ["Random", kind, "Neighbours", "Query", *exposed, "Ids", "File"] + (["Planted"] if planted else [])
    way = st.segmented_control("Other ways to select", names, default="Random", key="way", required=True)
    {
        "Random": _random, kind: _by_class, "Neighbours": _neighbours, "Query": _query, "Exposed": _exposed, "Ids": _typed, "File": _file, "Planted": _planted,
    }[way](state, found)  # fmt: skip


def _random(state: Studio, found: Original) -> None:
    count, seed, add = st.columns([1, 1, 1], vertical_alignment="bottom")
    left = np.setdiff1d(found.ids, state.gone)
    k = count.number_input("How many", 1, len(found.ids) - 1, min(50, len(found.ids) - 1), key="random.count")
    s = seed.number_input("Seed", 0, 2**31 - 1, 0, key="random.seed")
    add.button("Add", key="random.add", width="stretch", on_click=lambda: _add(state, draw(left, k, s), f"random {k}, seed {s}"))


def _by_class(state: Studio, found: Original) -> None:
    names = found.meta["class_names"]
    which, add = st.columns([2, 1], vertical_alignment="bottom")
    kind = answers.STRATA[found.task]
    chosen = which.multiselect("Classes" if kind == "Class" else f"{kind}s", names, key="class.names")
    rows = np.isin(found.arrays["label"], [names.index(name) for name in chosen])
    add.button(
        "Add",
        key="class.add",
        width="stretch",
        disabled=not chosen,
        on_click=lambda: _add(state, found.ids[rows], f"{kind.lower()} {', '.join(chosen)}"),
    )


def _neighbours(state: Studio, found: Original) -> None:
    most = found.arrays["neighbours"].shape[1]
    count, add = st.columns([2, 1], vertical_alignment="bottom")
    k = count.slider("Nearest in feature space, of each chosen one", 1, most, min(5, most), key="near.count")

    def apply() -> None:
        forget = state.forget
        for i in state.forget.ids:
            forget = forget.add(found.arrays["neighbours"][found.row_of[i]][:k].tolist(), f"neighbours of {i}")
        state.choose(forget)

    add.button("Add", key="near.add", width="stretch", disabled=not state.forget, on_click=apply)
    if not state.forget:
        st.caption("Choose an instance first.")


def _query(state: Studio, found: Original) -> None:
    names, a = found.meta["class_names"], found.arrays
    left, right = st.columns(2)
    label, predicted, outcome, orders, sure = left.multiselect(answers.STRATA[found.task], names, key="query.label"), [], "any", [], True
    if found.task == "classes":
        predicted = right.multiselect("Predicted class", names, key="query.predicted")
        orders = ["lowest confidence", "highest confidence"]
    if found.right is not None:
        outcome = left.selectbox("Outcome", ["any", "correct", "wrong"], key="query.outcome")
    order = right.selectbox("Order", ["highest loss", "lowest loss", *orders], key="query.order")
    if found.task == "classes":
        low, high = left.slider("Confidence", 0.0, 1.0, (0.0, 1.0), 0.01, key="query.confidence")
        sure = (a["confidence"] >= low) & (a["confidence"] <= high + 1e-6)
    most = right.number_input("At most", 1, len(found.ids), 50, key="query.most")
    least_loss = st.number_input("Loss of at least", 0.0, None, 0.0, key="query.loss", format="%.3f")
    keep = ~np.isin(found.ids, state.gone) & sure & (a["loss"] >= least_loss)
    for wanted, column in ((label, "label"), (predicted, "predicted")):
        if wanted:
            keep &= np.isin(a[column], [names.index(name) for name in wanted])
    if outcome != "any":
        keep &= found.right == (outcome == "correct")
    direction, column = order.split()
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(a[column][rows] * (-1 if direction == "highest" else 1), kind="stable")][:most]
    st.button(
        f"Add {len(rows):,} of {keep.sum():,} found",
        key="query.add",
        disabled=not len(rows),
        on_click=lambda: _add(state, found.ids[rows], f"query: {order}"),
    )


def _exposed(state: Studio, found: Original) -> None:
    there = pooling.table(found)
    if there is None:
        st.caption(
            "Shadow models, trained on random parts of the data, tell how much each instance was memorised, how hard it is, and how exposed."
        )
        pooling.ask(found)
        return
    left, right, add = st.columns([2, 1, 1], vertical_alignment="bottom")
    what = left.selectbox(
        "The most",
        list(pooling.COLUMNS),
        format_func={"memorisation": "memorised", "difficulty": "difficult", "exposure": "exposed"}.get,
        key="exposed.what",
    )
    k = right.number_input("How many", 1, len(found.ids) - 1, min(50, len(found.ids) - 1), key="exposed.count")
    score = np.where(np.isin(found.ids, state.gone), np.nan, there.arrays[what])
    ids = found.ids[np.argsort(-score, kind="stable")[: min(k, np.isfinite(score).sum())]]  # NaN, where no shadow can tell, comes last
    add.button(
        "Add",
        key="exposed.add",
        width="stretch",
        on_click=lambda: _add(state, ids, f"{k} highest in {pooling.COLUMNS[what]}, pool of {there.spec.members}"),
    )
    st.caption(
        f"{pooling.MEANING[what]} From {there.spec.members // 2} shadow models that will not judge what they chose; the map can be coloured by it."
    )


def _typed(state: Studio, found: Original) -> None:
    text = st.text_input("Instance ids", key="typed.ids", placeholder=", ".join(map(str, found.ids[:3])) + ", 20-25")

    def apply() -> None:
        with telling():
            ids = check_ids(parse_ids(text), found.ids, found.meta["total"], "ids", state.gone)
            _add(state, ids, "typed")

    st.button("Add", key="typed.add", disabled=not text.strip(), on_click=apply)
    try:
        typed = dict.fromkeys(parse_ids(text)) if text.strip() else {}
    except BadInput:
        return
    gone = set(state.gone)
    good = [i for i in typed if i in found.row_of and i not in gone]
    if good and len(good) < len(typed):
        st.caption(f"The model knows {len(good)} of these {len(typed)}; for the others there is nothing to unlearn.")
        st.button(f"Add the {len(good)} that it knows", key="typed.good", on_click=lambda: _add(state, good, "typed"))


def _file(state: Studio, found: Original) -> None:
    given = st.file_uploader(
        "A forget set exported here (CSV or JSON)", ["csv", "json"], key="file.upload", max_upload_size=MAX_IMPORT_BYTES // 1_000_000
    )

    def apply() -> None:
        with telling():
            loaded = fitting(given.getvalue(), found, "file")
            known = set(state.forget.ids)
            fresh = [(i, how) for i, how in zip(loaded.ids, loaded.provenance, strict=True) if i not in known]
            ids, hows = zip(*fresh, strict=True) if fresh else ((), ())
            forget = replace(state.forget, ids=state.forget.ids + ids, provenance=state.forget.provenance + hows)
            state.choose(forget.named(loaded.name or forget.name))

    st.button("Add", key="file.add", disabled=given is None, on_click=apply)


def _planted(state: Studio, found: Original) -> None:
    for name, ids in found.meta["planted"].items():
        st.button(
            f"Add all {len(ids)} {name} instances",
            key=f"planted.{name}",
            on_click=lambda ids=ids, name=name: _add(state, ids, f"planted: {name}"),
        )
    st.caption("These were planted when the data were made, so the right answer is known.")


def _add(state: Studio, ids, how: str) -> None:
    state.choose(state.forget.add([int(i) for i in ids], how))


def fitting(content: bytes, found: Original, field: str) -> ForgetSet:
    """A forget set that was exported or saved, if all of it can be chosen here. Raises BadInput."""
    forget = read_forget_set(content, found.meta["dataset"], found.meta["dataset_hash"], field)
    check_ids(forget.ids, found.ids, found.meta["total"], field)
    return forget


@contextmanager
def telling() -> Iterator[None]:
    """Leaves the message of a BadInput for `told`, so that a refused selection loses nothing."""
    try:
        yield
    except BadInput as error:
        st.session_state["selecting.error"] = str(error)


def told() -> None:
    """Draw the message of a selection that was refused, once."""
    message = st.session_state.pop("selecting.error", None)
    if message:
        st.error(plain(message), icon=":material/error:")


def table(found: Original, ids: tuple[int, ...], provenance: tuple[str, ...]) -> pd.DataFrame:
    """The chosen instances as a table: id, label, prediction, loss, confidence (of a class), how chosen."""
    rows = [found.row_of[i] for i in ids]
    a = found.arrays
    sure = {"confidence": a["confidence"][rows]} if found.task == "classes" else {}
    return pd.DataFrame({
        "id": ids, "label": found.words("target", rows), "predicted": found.words("answer", rows),
        "loss": a["loss"][rows], **sure, "how": provenance,
    })  # fmt: skip
