"""What is what in a file: target, text, protected attributes, types of the columns; size of pictures; title."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.importing.desk import Given
from pages.parts.plain import plain
from unlearn_core.data.importing import ColumnInfo, Options
from unlearn_core.data.importing.records import MOST_CATEGORIES, TARGETS
from unlearn_core.data.importing.source import SHORT

KINDS = {
    "number": "numbers", "category": "categories", "text": "texts", "constant": "one value only",
    "empty": "nothing", "name": "names of records",
}  # fmt: skip
SIDES = (0, 28, 32, 48, 64, 96, 128, 224)  # pixels


def options_for(given: Given, columns: tuple[ColumnInfo, ...]) -> Options | None:
    """What the person chose; None while the target of a table is not chosen."""
    return _of_table(given, columns) if columns else _of_others(given)


def switch(given: Given, name: str) -> str:
    """Key of the switch "duplicates" or "small"."""
    return f"import.{given.token}.{name}"


def _of_table(given: Given, columns: tuple[ColumnInfo, ...]) -> Options | None:
    key = f"import.{given.token}"
    names = [column.name for column in columns]
    usual = [name for name in names if name.lower() in TARGETS]
    with st.expander(f"{len(columns):,} columns", expanded=len(columns) <= 20):
        described = st.container()
        correct = st.container()
    left, right = st.columns(2)
    target = left.selectbox(
        "Target: the column with the classes",
        names,
        index=names.index(usual[0]) if len(usual) == 1 else None,
        placeholder="Choose a column",
        key=f"{key}.target",
    )
    others = [column for column in columns if column.name != target]
    categories, numbers = _types(correct, f"{key}.{target}", others)
    corrected = dict.fromkeys(categories, "categories") | dict.fromkeys(numbers, "numbers")
    described.dataframe(_described(columns, corrected), hide_index=True, key="import.columns", height=min(36 + 35 * len(columns), 250))
    if target is None:
        st.info("Say which column holds the classes.", icon=":material/arrow_upward:")
        return None
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
    return _common(
        given,
        target=target,
        text=text,
        protected=tuple(protected),
        leave_out=tuple(leave_out),
        categories=tuple(name for name in categories if name != text),
        numbers=tuple(name for name in numbers if name != text),
    )


def _types(place: Any, key: str, columns: list[ColumnInfo]) -> tuple[list[str], list[str]]:
    """Columns whose type the person corrects: (to categories, to numbers)."""
    codes = [c.name for c in columns if c.kind == "name" or (c.kind == "number" and c.distinct <= MOST_CATEGORIES)]
    spoilt = [c.name for c in columns if c.kind in ("category", "name", "text") and c.numbers]
    left, right = place.columns(2)
    categories, numbers = [], []
    if codes:
        categories = left.multiselect(
            "These are categories",
            codes,
            key=f"{key}.categories",
            help="Numbers that stand for something, such as postcodes or codes of answers.",
        )
    if spoilt:
        numbers = right.multiselect(
            "These are numbers",
            [name for name in spoilt if name not in categories],
            key=f"{key}.numbers",
            help="Words among them count as missing; a comma counts as the decimal point.",
        )
    if doubtful := [c.name for c in columns if c.name in spoilt and c.numbers > c.distinct / 2 and c.name not in (*categories, *numbers)]:
        place.caption(
            f"Mostly numbers, with words among them: {plain(', '.join(doubtful[:5]))}. As numbers, the words would count as missing."
        )
    return categories, numbers


def _described(columns: tuple[ColumnInfo, ...], corrected: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({
        "column": [column.name for column in columns],
        "holds": [corrected.get(column.name, KINDS[column.kind]) for column in columns],
        "different": [column.distinct for column in columns],
        "missing": [column.missing for column in columns],
        "first values": [", ".join(column.examples) for column in columns],
    })  # fmt: skip


def _of_others(given: Given) -> Options:
    key = f"import.{given.token}"
    if given.ending in (".npz", ".npy"):
        label = "Array with the labels" if given.ending == ".npz" else "Column with the labels, counted from 0"
        usual = "y, labels or target" if given.ending == ".npz" else "the last one"
        target = st.text_input(label, key=f"{key}.target", placeholder=usual).strip()
        return _common(given, target=target)
    side = st.selectbox(
        "Size of the pictures",
        SIDES,
        format_func=lambda side: f"{side} × {side} pixels" if side else "as they are; 64 × 64 where they differ or are large",
        key=f"{key}.side",
    )
    return _common(given, side=side)


def _common(given: Given, **chosen: Any) -> Options:
    title = st.text_input("Title", value=given.stem[:SHORT], max_chars=SHORT, key=f"import.{given.token}.title")
    twins, small = st.columns(2)
    drop_duplicates = twins.toggle(
        "Drop duplicates",
        key=switch(given, "duplicates"),
        help="Keeps only the first of instances that are equal. A twin in another split flatters every measure, and a forgotten instance may live on in its twin.",
    )
    drop_small = small.toggle(
        "Leave out too small classes", key=switch(given, "small"), help="Classes with fewer than 10 instances, too few for all splits."
    )
    return Options(title=title.strip(), drop_duplicates=drop_duplicates, drop_small=drop_small, **chosen)
