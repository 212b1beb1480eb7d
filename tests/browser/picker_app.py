"""A small app around the picker: synthetic points, a forget set with history, and buttons that change things."""

import base64
import io
import os
import time

import numpy as np
import streamlit as st
from PIL import Image

from pages.parts.picker import Points, pick, take

N = int(os.environ.get("PICKER_N", "400"))
TAKE_FIRST = os.environ.get("PICKER_TAKE", "1") == "1"
SLOW = float(os.environ.get("PICKER_SLOW", "0"))
SPRITE = os.environ.get("PICKER_SPRITE", "1") == "1"
TILES = os.environ.get("PICKER_TILES", "0") == "1"  # thumbnails are asked for, not sent
TILE, COLUMNS, CLASSES = 8, 25, 8
PALETTE = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")


@st.cache_data
def world(n):
    """Ids start at 1000, step by 7 and are shuffled, so a position is never an id. Class blobs on a ring."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(1000 + 7 * np.arange(n)).astype(np.int32)
    label = rng.integers(0, CLASSES, n).astype(np.int16)
    turn = 2 * np.pi * label / CLASSES
    xy = np.column_stack([np.cos(turn), np.sin(turn)]) * 4 + rng.normal(0, 0.8, (n, 2))
    return ids, xy.astype(np.float32), label, rng.gamma(2, 0.3, n).astype(np.float32)


@st.cache_data
def sprite(n):
    """Tile k is one flat colour that encodes k, with a brighter diagonal."""
    sheet = np.zeros((-(-n // COLUMNS) * TILE, COLUMNS * TILE, 3), np.uint8)
    for k in range(n):
        top, left = k // COLUMNS * TILE, k % COLUMNS * TILE
        sheet[top : top + TILE, left : left + TILE] = (k % 256, k // 256, 90)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@st.cache_data
def tiles(n):
    """The same flat colours, one by one."""
    k = np.arange(n)
    colours = np.stack([k % 256, k // 256, np.full(n, 90)], axis=1).astype(np.uint8)
    return np.broadcast_to(colours[:, None, None], (n, TILE, TILE, 3))


def points(colour):
    ids, xy, label, loss = world(N)
    captions = tuple(f"id {i} · label {c} · loss {v:.2f}" for i, c, v in zip(ids, label, loss, strict=True))
    shared = {
        "ids": ids,
        "x": xy[:, 0],
        "y": xy[:, 1],
        "captions": captions,
        "sprite": sprite(N) if SPRITE and not TILES else None,
        "tiles": tiles(N) if TILES else None,
        "name": f"{N} flat tiles",
        "tile": (TILE, TILE),
        "columns": COLUMNS,
    }
    if colour == "class":
        names = tuple(f"class {c}" for c in range(CLASSES))
        return Points(category=label, names=names, colours=PALETTE, shapes=tuple(range(CLASSES)), title="Label", **shared)
    value = loss.copy()
    value[::9] = np.nan
    return Points(value=value, colours=("#fde725", "#21918c", "#440154"), title="Loss", **shared)


@st.cache_resource
def cached_points(colour, n):
    return points(colour)


def apply(forget, gestures):
    for gesture in gestures:
        forget["log"].append([gesture.op, gesture.how, list(gesture.ids)])
        now = forget["steps"][-1]
        if gesture.op == "undo":
            if len(forget["steps"]) > 1:
                forget["steps"].pop()
        elif gesture.op == "clear":
            forget["steps"].append([])
        elif gesture.op == "add":
            forget["steps"].append(list(dict.fromkeys([*now, *gesture.ids])))
        else:
            gone = set(gesture.ids)
            forget["steps"].append([i for i in now if i not in gone])


def main():
    forget = st.session_state.setdefault("forget", {"steps": [[]], "log": []})
    if TAKE_FIRST:
        apply(forget, take("map"))
    bar = st.columns(4)
    if bar[0].button("Add class 3"):
        ids, _, label, _ = world(N)
        forget["steps"].append(sorted({*forget["steps"][-1], *ids[label == 3].tolist()}))
    bar[1].button("Rerun")
    colour = bar[2].radio("Colour by", ["class", "loss"], horizontal=True)
    runs = st.session_state.runs = st.session_state.get("runs", 0) + 1
    if SLOW:
        time.sleep(SLOW)
    apply(forget, pick(cached_points(colour, N), forget["steps"][-1], key="map", alt="Synthetic points in eight classes"))
    now = forget["steps"][-1]
    st.text(f"forget {len(now)}: {' '.join(map(str, now[:40]))}")
    st.text(f"gestures {len(forget['log'])}: " + "; ".join(f"{op} {how} {len(ids)}" for op, how, ids in forget["log"][-30:]))
    st.text(f"runs {runs}")


def other():
    st.text("another page")


st.set_page_config(page_title="Picker", layout="wide")
st.navigation([st.Page(main, title="Map", default=True), st.Page(other, title="Other", url_path="other")]).run()
