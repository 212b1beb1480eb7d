"""What becomes of a file: its size, what was done on the way, its classes and first instances."""

from __future__ import annotations

import base64

import pandas as pd
import streamlit as st

from pages.parts.importing.choosing import switch
from pages.parts.importing.desk import Given
from pages.parts.plain import plain
from unlearn_core.data.importing.summary import PICTURES, Summary

CALLED = {"tabular": "rows", "points": "points in the plane", "text": "texts", "image": "pictures"}


def draw(given: Given, found: Summary) -> None:
    """Everything that a person should know before keeping it."""
    sizes = found.sizes
    st.markdown(
        f"**{found.instances:,} {CALLED[found.modality]} of {len(found.classes):,} classes**: {sizes['train']:,} to learn from, "
        f"{sizes['tuning'] + sizes['heldout']:,} for validation, {sizes['test']:,} to test, {sizes['population']:,} for reference."
    )
    if found.notes:
        st.markdown("\n".join(f"- {plain(note)}" for note in found.notes))
    if found.duplicates:
        label = "Drop the duplicate" if found.duplicates == 1 else f"Drop the {found.duplicates:,} duplicates"
        st.button(label, key="import.drop", icon=":material/content_copy:", on_click=_set, args=(switch(given, "duplicates"),))
    first, classes = st.tabs(["First instances", "Classes"])
    with classes:
        frame = pd.DataFrame(found.classes, columns=["class", "instances"])
        st.dataframe(frame, hide_index=True, key="import.classes", height=min(36 + 35 * len(frame), 250))
    with first:
        _pictures(found) if found.modality == "image" else _rows(found)


def _set(key: str) -> None:
    st.session_state[key] = True


def _rows(found: Summary) -> None:
    frame = pd.DataFrame(found.rows, columns=["class", *found.columns[1:]])
    st.dataframe(frame, hide_index=True, key="import.first", placeholder="missing")
    if found.left_out:
        st.caption(f"And {found.left_out:,} more columns.")


def _pictures(found: Summary) -> None:
    counts = [count for _, count in found.classes]
    for column, (name, picture), count in zip(st.columns(PICTURES), found.pictures, counts, strict=False):
        column.image(base64.b64decode(picture), width="stretch", alt=f"A picture of class {name}")
        column.caption(f"{plain(name)} ({count:,})")
