"""The scatter picker: a person points at instances, the page gets their ids.

``pick`` draws the map and returns what the person did since the last call; the page owns the chosen set and passes it
back. What changes rarely (points, sprite) and what changes on each gesture (the chosen ids) are separate mounts, so a
click moves a few kilobytes however many points are shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import streamlit as st

from pages.parts.remembering import forgotten_by

_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "picker"
_OPS = ("add", "remove", "undo", "clear")
_HOWS = ("click", "lasso", "box", "keyboard", "button")
MOST_TILES = 64  # that one question can bring


@dataclass(frozen=True, eq=False)
class Points:
    """One row per displayed instance; every array has length N.

    ``ids`` are stable instance ids (unique, >= 0): they travel, positions never do. Exactly one of ``category`` (index
    into ``names``, ``colours`` and ``shapes``) and ``value`` (NaN is drawn hollow grey) is given; with ``value``,
    ``colours`` are the stops of the scale and ``limits`` its ends (the finite range when None). ``shapes``: 0 circle,
    1 square, 2 triangle, 3 diamond, 4 cross, 5 plus, 6 down-triangle, 7 star. ``sprite`` is a data URI or URL of
    thumbnails of size ``tile``, ``columns`` a row, in the order of ``ids``; where there are too many to send, ``tiles`` is
    given in its place, uint8 [N, height, width, 1 or 3], from which the browser asks for those that are looked at; ``name``
    says whose tiles they are. ``rows`` and ``captions`` are hover texts.

    Raises ValueError when lengths or kinds do not fit together.
    """

    ids: np.ndarray
    x: np.ndarray
    y: np.ndarray
    category: np.ndarray | None = None
    value: np.ndarray | None = None
    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = ("#4269d0",)
    shapes: tuple[int, ...] = ()
    title: str = ""
    sprite: str | None = None
    tile: tuple[int, int] = (0, 0)
    columns: int = 0
    tiles: np.ndarray | None = None
    name: str = ""
    rows: tuple[str, ...] | None = None
    captions: tuple[str, ...] | None = None
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("x", "y", "category", "value", "rows", "captions", "tiles"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise ValueError(f"{name} has {len(column)} entries for {n} ids")
        if (self.category is None) == (self.value is None):
            raise ValueError("give exactly one of category and value")
        if n and int(np.min(self.ids)) < 0:
            raise ValueError("ids must be >= 0")
        if len(np.unique(self.ids)) != n:
            raise ValueError("ids must be unique")
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise ValueError("x and y must be finite")
        if self.category is not None:
            if not len(self.names) == len(self.colours) == len(self.shapes):
                raise ValueError("names, colours and shapes need one entry per category")
            if n and (int(np.min(self.category)) < 0 or int(np.max(self.category)) >= len(self.names)):
                raise ValueError("category points outside names")
        if self.sprite is not None and (min(self.tile) < 1 or self.columns < 1):
            raise ValueError("a sprite needs tile and columns")
        if self.tiles is not None and (self.sprite is not None or self.tiles.shape[1:3] != tuple(self.tile)[::-1]):
            raise ValueError("give either a sprite or tiles, and the size of one")


@dataclass(frozen=True)
class Gesture:
    """One thing the person did. ``ids`` ascend; they are empty for undo and clear."""

    op: Literal["add", "remove", "undo", "clear"]
    how: Literal["click", "lasso", "box", "keyboard", "button"]
    ids: tuple[int, ...] = ()


@dataclass
class _Desk:
    """What one session remembers about one picker: which gestures it has handed out."""

    session: str = field(default_factory=lambda: secrets.token_hex(6))
    client: str = ""
    applied: int = 0
    known: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def unread(self, raw: Any) -> tuple[list[Gesture], str, int]:
        """Gestures in ``raw`` not handed out before, the client they are from and the last number among them."""
        client, applied = self.client, self.applied
        if not isinstance(raw, dict) or raw.get("session") != self.session:
            return [], client, applied
        sender = str(raw.get("client", ""))
        if sender != client:
            client, applied = sender, 0
        found: list[Gesture] = []
        for entry in raw.get("ops") or ():
            try:
                seq, op, how, text = entry
                if not isinstance(seq, int) or seq <= applied or op not in _OPS or how not in _HOWS:
                    continue
                ids = decode_ids(text) if op in ("add", "remove") else np.empty(0, np.int64)
            except (TypeError, ValueError):
                continue
            applied = seq
            ids = ids[np.isin(ids, self.known)]  # the browser is not trusted with ids that were never shown
            if len(ids) or op in ("undo", "clear"):
                found.append(Gesture(op, how, tuple(ids.tolist())))
        return found, client, applied

    def accept(self, client: str, applied: int) -> None:
        self.client, self.applied = client, applied


def encode_ids(ids: Sequence[int] | np.ndarray) -> str:
    """Ids as short text, ascending: varint gaps (``d...``) or a bitmap from the smallest (``b<id>,...``)."""
    ordered = np.unique(np.asarray(ids, dtype=np.int64))
    if not len(ordered):
        return ""
    if ordered[0] < 0 or ordered[-1] >= 2**31:
        raise ValueError("ids must be in 0 .. 2**31 - 1")
    gaps = np.diff(ordered, prepend=0)
    low, span = int(ordered[0]), int(ordered[-1] - ordered[0] + 1)
    groups = 1 + sum((gaps >= 1 << (7 * k)).astype(np.int64) for k in range(1, 5))
    if int(groups.sum()) <= (span + 7) // 8:
        shifts = np.arange(5)
        wide = (gaps[:, None] >> (7 * shifts)) & 127
        wide |= np.where(shifts < groups[:, None] - 1, 128, 0)
        return "d" + base64.b64encode(wide[shifts < groups[:, None]].astype(np.uint8).tobytes()).decode()
    bits = np.zeros(span, bool)
    bits[ordered - low] = True
    return f"b{low}," + base64.b64encode(np.packbits(bits, bitorder="little").tobytes()).decode()


def decode_ids(text: str) -> np.ndarray:
    """The inverse of ``encode_ids``: int64, ascending. Raises ValueError for text it did not write."""
    if text == "":
        return np.empty(0, np.int64)
    if not isinstance(text, str) or text[0] not in "db":
        raise ValueError("not an id list")
    try:
        if text[0] == "b":
            low, _, body = text[1:].partition(",")
            raw = np.frombuffer(base64.b64decode(body, validate=True), np.uint8)
            return np.flatnonzero(np.unpackbits(raw, bitorder="little")).astype(np.int64) + int(low)
        raw = np.frombuffer(base64.b64decode(text[1:], validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError("not an id list") from error
    if not len(raw) or raw[-1] > 127:
        raise ValueError("an id list breaks off")
    last = np.flatnonzero(raw < 128)
    first = np.concatenate([[0], last[:-1] + 1])
    if int((last - first).max()) > 4:
        raise ValueError("an id is too large")
    place = np.arange(len(raw)) - np.repeat(first, last - first + 1)
    return np.cumsum(np.add.reduceat((raw & 127).astype(np.int64) << (7 * place), first))


def take(key: str) -> list[Gesture]:
    """Gestures of picker ``key`` not handed out before, read before it is drawn.

    Call it at the top of a page, apply the gestures, then call ``pick`` with the new set: one run answers the gesture
    everywhere on the page. Hold the object you apply them to beforehand; reading ``st.session_state`` in between is a
    place where Streamlit may stop the run, and the gestures would be gone.
    """
    raw = st.session_state.get(key)
    desk = _desk(key)
    found, client, applied = desk.unread(_ops(raw))
    desk.accept(client, applied)
    return found


def pick(
    points: Points,
    selected: Sequence[int],
    *,
    key: str,
    height: int = 560,
    alt: str = "Map of instances; choose points to forget",
) -> list[Gesture]:
    """Draw the map with ``selected`` marked and return the gestures not handed out before (usually none or one).

    ``selected`` is the truth: the browser shows a gesture at once, then whatever comes back here. ``key`` names the
    picker in the session (unique on the page) and keeps its zoom; ``height`` is the plot's, in pixels; ``alt`` says in
    words what it shows. Apply what is returned before touching ``st.session_state`` again (see ``take``); the picker
    asks for one more run by itself when the page does not.
    """
    desk = _desk(key)
    raw = st.session_state.get(key)
    desk.known = points.ids
    _, client, seen = desk.unread(_ops(raw))
    state = {
        "key": key,
        "session": desk.session,
        "ack": [client, desk.applied if client == desk.client else 0, seen],
        "selected": encode_ids(selected),
        "height": int(height),
        "alt": alt,
    }
    with st.container(gap=None):
        result = _MAP(key=key, data=_points_block(points, key))
        _RELAY(key=f"{key}-pictures", data=_sprite_block(points.sprite, key), height=1)
        _RELAY(key=f"{key}-state", data=state, height=1)
        if points.tiles is not None:
            _tiles(points, key)
    # From here to the return nothing calls Streamlit, so a run stopped by the next gesture stops before or after it.
    found, client, applied = desk.unread(result.get("ops"))
    desk.accept(client, applied)
    return found


@st.fragment
def _tiles(points: Points, key: str) -> None:
    """Send the tiles that the browser asked for. A fragment of its own: to look at a point runs nothing else of the page."""
    slot = f"{key}-tiles"
    raw = st.session_state.get(slot)
    _RELAY(key=slot, data=_tiles_block(points, key, raw.get("rows") if isinstance(raw, dict) else None), height=1)


def _tiles_block(points: Points, key: str, wanted: Any) -> bytes:
    """Tiles of the rows in ``wanted`` ({"of", "rows", "asked"}, from the browser and so not trusted); none where it does not fit."""
    rows, asked = [], 0
    if isinstance(wanted, dict) and wanted.get("of") == points.name and isinstance(wanted.get("rows"), list):
        rows = [row for row in wanted["rows"][:MOST_TILES] if type(row) is int and 0 <= row < len(points.ids)]
        asked = wanted["asked"] if type(wanted.get("asked")) is int else 0
    shown = np.ascontiguousarray(points.tiles[np.sort(rows)] if rows else points.tiles[:0])
    size = int(np.prod(points.tiles.shape[1:]))
    return _block(key, {"of": points.name, "rows": sorted(rows), "size": size, "asked": asked}, {"pixels": shown.reshape(-1)})


def _desk(key: str) -> _Desk:
    slot = f"picker:{key}"
    if slot not in st.session_state:
        st.session_state[slot] = _Desk()
    return st.session_state[slot]


def _ops(raw: Any) -> Any:
    return raw.get("ops") if isinstance(raw, dict) else None


def _block(key: str, header: dict[str, Any], arrays: dict[str, np.ndarray | bytes]) -> bytes:
    """Header length, JSON header, 8-byte aligned sections; ``digest`` tells the browser whether it has it already."""
    kinds = {"i4": "<i4", "i2": "<i2", "f4": "<f4", "u1": "u1"}
    sections, bodies, digest = [], [], hashlib.blake2b(digest_size=12)
    for name, array in arrays.items():
        kind, body = "u1", array
        if not isinstance(array, bytes):
            kind = next(k for k, t in kinds.items() if np.dtype(t) == array.dtype)
            body = array.tobytes()
        sections.append([name, kind, len(body) // np.dtype(kinds[kind]).itemsize])
        bodies.append(body)
        digest.update(body)
    digest.update(json.dumps(header).encode())
    header = {**header, "key": key, "digest": digest.hexdigest()}

    def head(start: int) -> tuple[bytes, int]:
        at, rows = start, []
        for (name, kind, count), body in zip(sections, bodies, strict=True):
            rows.append([name, kind, at, count])
            at += -(-len(body) // 8) * 8
        return json.dumps({**header, "sections": rows}).encode(), at

    start = -(-(len(head(2**31)[0]) + 4) // 8) * 8
    text = head(start)[0].ljust(start - 4)  # JSON allows trailing blanks
    padded = (body.ljust(-(-len(body) // 8) * 8, b"\0") for body in bodies)
    return b"".join([len(text).to_bytes(4, "little"), text, *padded])


_blocks: WeakKeyDictionary[Points, dict[str, bytes]] = WeakKeyDictionary()


def _points_block(points: Points, key: str) -> bytes:
    ready = _blocks.setdefault(points, {})
    if key not in ready:
        ready[key] = _pack_points(points, key)
    return ready[key]


def _pack_points(points: Points, key: str) -> bytes:
    def column(array: np.ndarray, dtype: str) -> np.ndarray:
        return np.ascontiguousarray(array, dtype)

    arrays: dict[str, np.ndarray | bytes] = {
        "ids": column(points.ids, "<i4"),
        "x": column(points.x, "<f4"),
        "y": column(points.y, "<f4"),
    }
    limits = points.limits
    if points.value is not None:
        arrays["value"] = column(points.value, "<f4")
        finite = points.value[np.isfinite(points.value)]
        if limits is None:
            limits = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    else:
        arrays["category"] = column(points.category, "<i2")
    for name in ("rows", "captions"):
        texts = getattr(points, name)
        if texts is not None:
            arrays[name] = json.dumps(list(texts), ensure_ascii=False).encode()
    header = {
        "names": list(points.names),
        "colours": list(points.colours),
        "shapes": [int(shape) for shape in points.shapes],
        "title": points.title,
        "tile": [int(side) for side in points.tile],
        "columns": int(points.columns),
        "asks": 0 if points.tiles is None else int(points.tiles.shape[3]),
        "limits": [float(end) for end in limits] if limits else None,
    }
    return _block(key, header, arrays)


@lru_cache(maxsize=4)
def _sprite_block(sprite: str | None, key: str) -> bytes:
    if sprite is None:
        return _block(key, {"url": None}, {})
    if not sprite.startswith("data:"):
        return _block(key, {"url": sprite}, {})
    kind, _, body = sprite.partition(",")
    image = base64.b64decode(body) if kind.endswith(";base64") else urllib.parse.unquote_to_bytes(body)
    return _block(key, {"url": None}, {"image": image})


forgotten_by(_sprite_block.cache_clear)


def _source(*names: str) -> str:
    return "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in names)


_MAP = st.components.v2.component("unlearning_studio_picker", js=_source("wire.js", "plot.js", "picker.js"), css=_source("picker.css"))
_RELAY = st.components.v2.component("unlearning_studio_picker_relay", js=_source("relay.js"))
