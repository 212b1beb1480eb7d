"""The chosen instances: pictures or rows with a remove button each, names, saving, export."""

from __future__ import annotations

import base64
import io
import secrets

import numpy as np
import streamlit as st
from PIL import Image

from pages.parts import deciding
from pages.parts.backend import backend
from pages.parts.mapping import captions, snippet
from pages.parts.plain import plain
from pages.parts.selecting import fitting, table, telling
from pages.parts.state import Studio
from unlearn_core.errors import BadInput
from unlearn_core.evidence.attribution import SOURCE, definition
from unlearn_core.figures import selection
from unlearn_core.runs.originals import Original

SHOWN = 20
COLUMNS = 5
LONGEST = 400  # characters of a text or row
PICTURE = "picture"
LISTED = 1000  # instances beyond which a table has no pictures or texts
STRIP, STRIP_TEXTS, STRIP_CHARACTERS = 16, 3, 160
WORDS = {"text": "words", "tabular": "columns"}


def thumbnail(found: Original, instance: int, size: int = 64) -> bytes:
    """PNG of one training instance, its longer side `size` pixels, enlarged without smoothing."""
    tile = np.asarray(found.tiles[found.row_of[instance]])
    height, width = (max(1, round(side * size / max(tile.shape[:2]))) for side in tile.shape[:2])
    out = io.BytesIO()
    Image.fromarray(tile[..., 0] if tile.shape[2] == 1 else tile).resize((width, height), Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def data_uri(found: Original, instance: int) -> str:
    """The thumbnail of a training instance as an address for pictures in tables and charts; empty for other instances."""
    return "data:image/png;base64," + base64.b64encode(thumbnail(found, instance)).decode() if instance in found.row_of else ""


def seen(found: Original, ids: list[int]) -> tuple[str, list[str], object]:
    """What a person sees of each instance, as a column of a table: its name, the cells, and how it is drawn. Empty for other than training instances."""
    if found.sprite:
        return PICTURE, [data_uri(found, i) for i in ids], st.column_config.ImageColumn("Picture")
    name = "text" if found.meta["modality"] == "text" else "row"
    cells = [" ".join(found.texts[found.row_of[i]].split()) if i in found.row_of else "" for i in ids]
    return (
        name,
        cells,
        st.column_config.TextColumn(name.capitalize(), width="medium", help="What the instance says; double-click to read all"),
    )


def strip(found: Original, ids: tuple[int, ...], label: str) -> None:
    """The first few instances as people see them: pictures in a row, or the beginnings of texts and rows."""
    some = [i for i in ids[: STRIP if found.sprite else STRIP_TEXTS] if i in found.row_of]
    rest = f", {len(some)} of {len(ids):,}" if len(ids) > len(some) else ""
    st.caption(f"{label}{rest}")
    if found.sprite:
        with st.container(horizontal=True, gap="small"):
            for i in some:
                st.image(thumbnail(found, i), caption=str(i), width=56, alt=captions(found.key)[found.row_of[i]])
        return
    rows = (f"- **{i}** {plain(snippet(found.texts[found.row_of[i]], STRIP_CHARACTERS))}" for i in some)
    st.markdown("\n".join(rows))


def chosen(state: Studio, found: Original) -> None:
    """Draw the chosen set."""
    forget = state.forget
    if not forget:
        st.info(
            "Nothing chosen yet. Click points on the map, draw a lasso around some, or use another way to select.",
            icon=":material/ads_click:",
        )
    else:
        _instances(state, found)
    _keeping(state, found)


def _instances(state: Studio, found: Original) -> None:
    forget = state.forget
    st.markdown(f"**{len(forget):,} chosen to forget**")
    st.plotly_chart(
        selection.classes(found.arrays["label"], np.isin(found.ids, forget.ids), found.meta["class_names"]),
        key="chosen.classes",
        config={"displayModeBar": False},
        alt=f"How many instances of each class are chosen, of {len(forget)} in all",
    )
    pages = -(-len(forget) // SHOWN)
    page = st.pagination(pages, key="gallery.page") - 1 if pages > 1 else 0
    shown = forget.ids[page * SHOWN : (page + 1) * SHOWN]
    lines, weights = captions(found.key), {}
    if deciding.available(found) and _marking(found):
        deciding.legend(found, short=True)
        weights = deciding.weights(found, shown, forget.ids[page * SHOWN : page * SHOWN + deciding.AHEAD])
    columns = st.columns(COLUMNS if found.sprite else 1, gap="small")
    for position, i in enumerate(shown):
        line = lines[found.row_of[i]]
        with columns[position % len(columns)]:
            if found.sprite:
                st.image(thumbnail(found, i), width="stretch", alt=line)
                _remove(state, i, line)
            else:
                with st.container(gap="xxsmall"):
                    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
                        st.caption(plain(line))
                        _remove(state, i, line)
                    st.html(deciding.shown(found, i, weights.get(i), LONGEST))


def _marking(found: Original) -> bool:
    modality = found.meta["modality"]
    label = f"Mark the {WORDS[modality]} that weigh most"
    # Rows are read column by column anyway; of a text a person wants to see what counts.
    return st.toggle(
        label, value=modality == "text", key=f"gallery.mark.{modality}", help=f"{definition(modality, found.task)} Source: {SOURCE}."
    )


def _remove(state: Studio, instance: int, line: str) -> None:
    st.button(
        f"{instance}",
        key=f"remove.{instance}",
        help=f"Remove {plain(line)}",
        icon=":material/close:",
        type="tertiary",
        on_click=lambda: state.choose(state.forget.remove([instance])),
    )


def _keeping(state: Studio, found: Original) -> None:
    """Save, reopen and export."""
    store, forget = backend().store, state.forget
    saved = store.forget_sets(found.key)
    with st.expander(f"Save, reopen, export ({len(saved)} saved)"):
        name, save = st.columns([2, 1], vertical_alignment="bottom")
        text = name.text_input("Name", value=forget.name, key="set.name", max_chars=80)

        def keep() -> None:
            state.choose(state.forget.named(text))
            store.save_forget_set(
                secrets.token_hex(8), found.key, text.strip(), state.forget.to_json(found.meta["dataset"], found.meta["dataset_hash"])
            )

        save.button("Save", key="set.save", width="stretch", disabled=not (forget and text.strip()), on_click=keep)
        if saved:
            which, load, drop = st.columns([2, 1, 1], vertical_alignment="bottom")
            names = {row["token"]: row["name"] for row in saved}
            token = which.selectbox("Saved sets", list(names), format_func=names.get, key="set.saved")

            def reopen() -> None:
                with telling():
                    row = store.forget_set(token)
                    if row is None:
                        raise BadInput("saved set", "it was deleted in the meantime.", "Choose another one.")
                    state.choose(fitting(row["content"].encode(), found, "saved set"))

            load.button("Open", key="set.open", width="stretch", on_click=reopen)
            drop.button("Delete", key="set.delete", width="stretch", on_click=store.delete_forget_set, args=(token,))
        if forget:
            stem = f"forget-{found.meta['dataset']}-{len(forget)}"
            csv, json = st.columns(2)
            csv.download_button(
                "CSV",
                lambda: forget.to_csv(found.meta["dataset"], found.meta["dataset_hash"]),
                f"{stem}.csv",
                "text/csv",
                width="stretch",
                on_click="ignore",
            )
            json.download_button(
                "JSON",
                lambda: forget.to_json(found.meta["dataset"], found.meta["dataset_hash"]),
                f"{stem}.json",
                "application/json",
                width="stretch",
                on_click="ignore",
            )
            listed = table(found, forget.ids, forget.provenance)
            if len(listed) <= LISTED:
                name, cells, config = seen(found, list(forget.ids))
                listed.insert(1, name, cells)
                st.dataframe(listed, hide_index=True, height=220, column_config={name: config})
            else:
                st.dataframe(listed, hide_index=True, height=220)
