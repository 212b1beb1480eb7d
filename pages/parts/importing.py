"""One's own data: give a file, say what is what, see what becomes of it, keep it, delete it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.backend import backend
from pages.parts.plain import plain
from unlearn_core import data
from unlearn_core.data import importing, own
from unlearn_core.data.importing import ColumnInfo, Imported, Options
from unlearn_core.data.importing.records import TARGETS
from unlearn_core.data.importing.source import SHORT
from unlearn_core.errors import BadInput
from unlearn_core.params import resolve
from unlearn_core.runs.store import Job

DESK = "import.desk"
MOST_MEGABYTES = 200  # of an upload, which the page holds in memory; .streamlit/config.toml says the same
HERE = ("127.0.0.1", "localhost", "::1")
KINDS = {
    "number": "numbers", "category": "categories", "text": "texts", "constant": "one value only",
    "empty": "nothing", "name": "names of records",
}  # fmt: skip
SIDES = (0, 28, 32, 48, 64, 96, 128, 224)  # pixels
ROWS = 5
PICTURES = 8


@dataclass(frozen=True)
class Given:
    """A file that was uploaded, or a path on this machine. token: differs for each content, as far as that is known without reading."""

    content: bytes | Path
    name: str
    token: tuple

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def ending(self) -> str:
        return Path(self.name).suffix.lower()


@dataclass(frozen=True)
class Checked:
    """An import with what its dataset will be. notes: what was done on the way; sizes: instances of each split."""

    imported: Imported
    notes: tuple[str, ...]
    sizes: dict[str, int]


@dataclass
class Desk:
    """What the open dialog remembers, so that nothing is read twice. told: why the last attempt to keep the data failed."""

    answers: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    told: str = ""

    def once(self, what: str, token: Any, compute: Callable[[], Any]) -> Any:
        """`compute()`, or the answer that it gave to the same token before. Raises BadInput again where it did so."""
        if what not in self.answers or self.answers[what][0] != token:
            self.answers[what] = (token, _tried(compute))
        answer = self.answers[what][1]
        if isinstance(answer, BadInput):
            raise answer
        return answer


def begin() -> None:
    """Open the dialog."""
    st.session_state[DESK] = Desk()


def end() -> None:
    """Close the dialog; what was read is let go."""
    st.session_state.pop(DESK, None)


def draw(keep: Callable[[own.Kept], None]) -> None:
    """The dialog, if it is open. It is drawn again after every run of the page, since other parts of the page may ask for one.

    keep: what to do with data that is kept, before the page runs again.
    """
    if DESK in st.session_state:
        _dialog(keep)


@st.dialog("Use your own data", width="large", on_dismiss=end)
def _dialog(keep: Callable[[own.Kept], None]) -> None:
    desk: Desk | None = st.session_state.get(DESK)
    if desk is None:  # kept just now: the page around is another one
        st.rerun()
    try:
        given = _given()
        if given is None:
            st.caption("It stays on this machine. Nothing in a file is ever executed, and nothing is kept before you say so.")
            return
        columns = desk.once("columns", given.token, lambda: importing.preview(given.content, given.name))
        options = _table_options(given, columns) if columns else _other_options(given)
        if options is None:
            return
        checked = desk.once("checked", (given.token, options), lambda: _check(given, options))
    except BadInput as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    _what_becomes(checked)
    if desk.told:
        st.error(plain(desk.told), icon=":material/error:")
    st.button("Keep and open", type="primary", icon=":material/check:", key="import.keep", on_click=_keep, args=(desk, checked, keep))


def _keep(desk: Desk, checked: Checked, keep: Callable[[own.Kept], None]) -> None:
    try:
        kept = own.save(checked.imported)
    except OSError as error:
        desk.told = f"The data could not be kept: {error.strerror}. Nothing was changed; make room and try again."
        return
    end()
    keep(kept)


def _tried(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except BadInput as error:
        return error
    except OSError as error:
        return BadInput("file", f"it cannot be read ({error.strerror or error}).", "Check the path and who may read it.")


def _given() -> Given | None:
    st.caption(f"{importing.KINDS}. Uploads of up to {MOST_MEGABYTES} MB; give the path of anything larger.")
    file = st.file_uploader("A file", key="import.file", max_upload_size=MOST_MEGABYTES)
    if file is not None:
        return Given(file.getvalue(), file.name, (file.file_id,))
    path = ""
    if st.get_option("server.address") in HERE:  # who reaches the page from elsewhere must not read this machine's files
        path = st.text_input("Or a file or folder on this machine", key="import.path", placeholder="/home/me/people.csv").strip()
    return _at(path) if path else None


def _at(path: str) -> Given:
    try:
        place = Path(path).expanduser().absolute()
        changed = place.stat().st_mtime_ns if place.exists() else 0
    except (OSError, RuntimeError, ValueError):
        raise BadInput("file", "this is not a path on this machine.", "Give the path of a file or of a folder of class folders.") from None
    return Given(place, place.name, (str(place), changed))


# what is what ----------------------------------------------------------------------------------------------


def _table_options(given: Given, columns: tuple[ColumnInfo, ...]) -> Options | None:
    with st.expander(f"{len(columns):,} columns", expanded=len(columns) <= 20):
        st.dataframe(_described(columns), hide_index=True, key="import.columns", height=min(36 + 35 * len(columns), 250))
    names, key = [column.name for column in columns], f"import.{given.token}"
    usual = [name for name in names if name.lower() in TARGETS]
    left, right = st.columns(2)
    target = left.selectbox(
        "Target: the column with the classes",
        names,
        index=names.index(usual[0]) if len(usual) == 1 else None,
        placeholder="Choose a column",
        key=f"{key}.target",
    )
    if target is None:
        st.info("Say which column holds the classes.", icon=":material/arrow_upward:")
        return None
    others = [column for column in columns if column.name != target]
    read = [column.name for column in others if column.kind == "text"]
    learnt = [column for column in others if column.kind in ("number", "category")]
    texts = ["", *(column.name for column in others if column.kind in ("text", "name", "category"))]
    text = right.selectbox(
        "Text: the column to read, if it is about texts",
        texts,
        index=texts.index(read[0]) if read and not learnt else 0,
        format_func=lambda name: name or "none, the rows are a table",
        key=f"{key}.{target}.text",
    )
    rest = [column.name for column in others if column.name != text]
    protected = left.multiselect(
        "Protected: columns that tell groups of people apart",
        rest,
        key=f"{key}.{target}.{text}.protected",
        help="Such as sex or origin. Numbers with many values become four groups.",
    )
    leave_out = ()
    if not text:
        leave_out = right.multiselect(
            "Left out: columns that the model must not see",
            rest,
            key=f"{key}.{target}.leave_out",
            help="A column may be protected and left out.",
        )
    return _common(key, given, target=target, text=text, protected=tuple(protected), leave_out=tuple(leave_out))


def _described(columns: tuple[ColumnInfo, ...]) -> pd.DataFrame:
    return pd.DataFrame({
        "column": [column.name for column in columns],
        "holds": [KINDS[column.kind] for column in columns],
        "different": [column.distinct for column in columns],
        "missing": [column.missing for column in columns],
        "first values": [", ".join(column.examples) for column in columns],
    })  # fmt: skip


def _other_options(given: Given) -> Options:
    key = f"import.{given.token}"
    if given.ending in (".npz", ".npy"):
        label = "Array with the labels" if given.ending == ".npz" else "Column with the labels, counted from 0"
        usual = "y, labels or target" if given.ending == ".npz" else "the last one"
        target = st.text_input(label, key=f"{key}.target", placeholder=usual).strip()
        return _common(key, given, target=target)
    side = st.selectbox(
        "Size of the pictures",
        SIDES,
        format_func=lambda side: f"{side} × {side} pixels" if side else "as they are; 64 × 64 where they differ or are large",
        key=f"{key}.side",
    )
    return _common(key, given, side=side)


def _common(key: str, given: Given, **chosen: Any) -> Options:
    title = st.text_input("Title", value=given.stem[:SHORT], max_chars=SHORT, key=f"{key}.title")
    twins, small = st.columns(2)
    drop_duplicates = twins.toggle(
        "Drop duplicates",
        key=f"{key}.duplicates",
        help="Keeps only the first of instances that are equal. A twin in another split flatters every measure, and a forgotten instance may live on in its twin.",
    )
    drop_small = small.toggle(
        "Leave out too small classes", key=f"{key}.small", help="Classes with fewer than 10 instances, too few for all splits."
    )
    return Options(title=title.strip(), drop_duplicates=drop_duplicates, drop_small=drop_small, **chosen)


# what becomes of it ----------------------------------------------------------------------------------------


def _check(given: Given, options: Options) -> Checked:
    """Read everything, and make the dataset once: what is missing is filled from its training split."""
    place = st.empty()
    bar = place.progress(0.0, text="Reading …")
    imported = importing.read(
        given.content, given.name, options, lambda share: bar.progress(min(share, 1.0), text="Reading the pictures …")
    )
    name = own.NAMES[imported.modality]
    found = own.dataset(imported, resolve(data.info(name).params, {}, name), name)
    place.empty()
    return Checked(imported, found.notes, {split: len(ids) for split, ids in found.splits.items()})


def _what_becomes(checked: Checked) -> None:
    imported, sizes = checked.imported, checked.sizes
    what = {"tabular": "rows", "points": "points in the plane", "text": "texts", "image": "pictures"}[imported.modality]
    st.markdown(
        f"**{len(imported):,} {what} of {len(imported.class_names):,} classes**: {sizes['train']:,} to learn from, "
        f"{sizes['tuning'] + sizes['heldout']:,} for validation, {sizes['test']:,} to test, {sizes['population']:,} for reference."
    )
    if checked.notes:
        st.markdown("\n".join(f"- {plain(note)}" for note in checked.notes))
    counts = np.bincount(imported.labels, minlength=len(imported.class_names))
    first, classes = st.tabs(["First instances", "Classes"])
    with classes:
        frame = pd.DataFrame({"class": imported.class_names, "instances": counts})
        st.dataframe(frame, hide_index=True, key="import.classes", height=min(36 + 35 * len(frame), 250))
    with first:
        if imported.modality == "image":
            _pictures(imported, counts)
        else:
            st.dataframe(_first(imported), hide_index=True, key="import.first")


def _first(imported: Imported) -> pd.DataFrame:
    """The first instances with what a model will get of them."""
    columns: dict[str, Any] = {}
    if imported.texts:
        columns["text"] = imported.texts[:ROWS]
    for column in imported.columns:
        values, kind = column.values[:ROWS], column.categories
        columns[column.name] = [
            None if gone else kind[int(v)] if kind else v for v, gone in zip(values, column.missing[:ROWS], strict=True)
        ]
    if imported.inputs is not None:
        columns |= dict(zip(imported.feature_names, imported.inputs[:ROWS].T, strict=True))
    labels = pd.Series([imported.class_names[label] for label in imported.labels[:ROWS]], name="class")
    return pd.concat([labels, pd.DataFrame(columns)], axis=1)


def _pictures(imported: Imported, counts: np.ndarray) -> None:
    """The first picture of each class."""
    shown = len(imported.class_names[:PICTURES])
    for column, label in zip(st.columns(PICTURES), range(shown), strict=False):
        image = imported.inputs[np.argmax(imported.labels == label)].transpose(1, 2, 0)
        name = imported.class_names[label]
        column.image(image.squeeze(), width="stretch", alt=f"A picture of class {name}")
        column.caption(f"{plain(name)} ({counts[label]:,})")


# deleting --------------------------------------------------------------------------------------------------


def deleting(kept: own.Kept) -> None:
    """Delete an import after a question that says what stays."""
    made = made_of(kept.key)
    busy = [job for job in made if not job.ended]
    with st.popover("Delete", icon=":material/delete:", width="stretch"):
        st.markdown(f"Delete **{plain(kept.title)}** ({kept.instances:,} instances) for good?")
        if busy:
            st.warning(
                f"Not now: {'a job that needs it is' if len(busy) == 1 else f'{len(busy)} jobs that need it are'} waiting or under way. "
                "Let them end, or cancel them.",
                icon=":material/hourglass_top:",
            )
        elif made:
            runs = sum(job.kind in ("run", "evidence") for job in made)
            what = f"The models, maps and {runs:,} run{'s' * (runs != 1)}" if runs else "The models and maps"
            st.caption(
                f"{what} made from it stay in the store, with the words or pictures of instances that they show. "
                "They can be looked at, but nothing new can be computed from them."
            )

        def delete() -> None:
            if any(not job.ended for job in made_of(kept.key)):
                return  # somebody started one meanwhile; the next drawing says so
            own.delete(kept.key)

        st.button("Delete for good", key="own.delete", disabled=bool(busy), on_click=delete)


def made_of(key: str) -> list[Job]:
    """All jobs whose data is this import."""
    return [job for job in backend().store.jobs() if _names(job.spec, key)]


def _names(spec: Any, key: str) -> bool:
    if isinstance(spec, dict):
        return spec.get("dataset_params", {}).get("key") == key or any(_names(part, key) for part in spec.values())
    return False
