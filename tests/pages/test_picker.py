"""The Python side of the picker: id lists, what is handed out once, what a block holds."""

import contextlib
import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.picker import MOST_TILES, Gesture, Points, _Desk, _points_block, _sprite_block, _tiles_block, decode_ids, encode_ids


def some(n=5, **changes):
    given = {
        "ids": np.arange(n, dtype=np.int32) * 3 + 10, "x": np.arange(n, dtype=np.float32), "y": np.zeros(n, np.float32),
        "category": np.zeros(n, np.int16), "names": ("a",), "colours": ("#123456",), "shapes": (0,),
    }  # fmt: skip
    return Points(**{**given, **changes})


@pytest.mark.parametrize(
    "ids", [[], [0], [7], [127, 128, 16383, 16384], [0, 2**31 - 1], [2**31 - 1], [5, 3, 3, 9], list(range(1000, 9000, 3)), list(range(500))]
)
def test_ids_come_back(ids):
    assert decode_ids(encode_ids(ids)).tolist() == sorted(set(ids))


def test_random_ids_come_back_and_stay_short():
    rng = np.random.default_rng(0)
    for count in (3, 300, 30_000, 60_000):
        ids = np.sort(rng.choice(60_000, count, replace=False))
        text = encode_ids(ids)
        assert np.array_equal(decode_ids(text), ids)
        assert len(text) <= 10_020 and len(text) <= 4 * count + 4


@pytest.mark.parametrize("text", ["x", "d!", "d\xff", "dgA==", "bq,AA==", "b1", "d" + "/////w8=" * 2, None, 5, ["d"]])
def test_foreign_text_is_refused_or_harmless(text):
    with contextlib.suppress(ValueError, TypeError):
        assert len(decode_ids(text)) < 50


@pytest.mark.parametrize("ids", [[-1], [2**31]])
def test_ids_out_of_range_are_refused(ids):
    with pytest.raises(ValueError):
        encode_ids(ids)


def message(desk, *ops, client="c", session=None):
    return {"client": client, "session": session or desk.session, "ops": [list(op) for op in ops]}


@pytest.fixture
def desk():
    return _Desk(known=np.array([1, 2, 3, 40]))


def hand_out(desk, raw):
    found, client, applied = desk.unread(raw)
    desk.accept(client, applied)
    return found


def test_each_gesture_is_handed_out_once_and_in_order(desk):
    first = (1, "add", "click", encode_ids([2]))
    assert hand_out(desk, message(desk, first)) == [Gesture("add", "click", (2,))]
    assert hand_out(desk, message(desk, first)) == []
    later = message(desk, first, (2, "remove", "lasso", encode_ids([2, 40])), (3, "undo", "keyboard", ""))
    assert hand_out(desk, later) == [Gesture("remove", "lasso", (2, 40)), Gesture("undo", "keyboard")]
    assert hand_out(desk, later) == []


def test_reading_alone_changes_nothing(desk):
    raw = message(desk, (1, "clear", "button", ""))
    assert desk.unread(raw) == desk.unread(raw)
    assert len(hand_out(desk, raw)) == 1


def test_gestures_of_another_session_are_never_applied(desk):
    assert hand_out(desk, message(desk, (1, "add", "click", encode_ids([1])), session="other")) == []


def test_a_new_page_load_starts_again(desk):
    op = (1, "add", "click", encode_ids([1]))
    assert len(hand_out(desk, message(desk, op))) == 1
    assert len(hand_out(desk, message(desk, op, client="after reload"))) == 1


def test_unknown_ids_and_malformed_gestures_are_dropped(desk):
    raw = message(
        desk, (1, "add", "lasso", encode_ids([3, 4, 5])), (2, "drop table", "click", ""), (3, "add", "telepathy", ""),
        (4, "add", "click", "zzz"), (5, "add", "click", encode_ids([99])), ("6", "clear", "button", ""), (7,),
    )  # fmt: skip
    assert hand_out(desk, raw) == [Gesture("add", "lasso", (3,))]
    for rubbish in (None, 3, [], {}, {"session": desk.session}, {"session": desk.session, "ops": [None, 5]}):
        assert hand_out(desk, rubbish) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"x": np.zeros(4, np.float32)},
        {"category": None},
        {"value": np.zeros(5, np.float32)},
        {"ids": np.array([1, 1, 2, 3, 4], np.int32)},
        {"ids": np.arange(-1, 4, dtype=np.int32)},
        {"x": np.array([0, 1, np.nan, 3, 4], np.float32)},
        {"names": ("a", "b")},
        {"category": np.full(5, 3, np.int16)},
        {"sprite": "data:image/png;base64,AA=="},
        {"captions": ("one",)},
        {"tiles": np.zeros((4, 2, 3, 1), np.uint8), "tile": (3, 2)},
        {"tiles": np.zeros((5, 2, 3, 1), np.uint8), "tile": (2, 3)},
        {"tiles": np.zeros((5, 2, 3, 1), np.uint8), "tile": (3, 2), "columns": 3, "sprite": "data:image/png;base64,AA=="},
    ],
)
def test_points_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError):
        some(**changes)


def read(block):
    length = int.from_bytes(block[:4], "little")
    header = json.loads(block[4 : 4 + length])
    kinds = {"i4": "<i4", "i2": "<i2", "f4": "<f4", "u1": "u1"}
    return header, {name: np.frombuffer(block, kinds[kind], count, at) for name, kind, at, count in header["sections"]}


def test_a_block_holds_the_points():
    points = some(captions=tuple("äbcde"), rows=tuple("12345"))
    header, arrays = read(_points_block(points, "map"))
    assert header["key"] == "map" and header["names"] == ["a"]
    assert arrays["ids"].tolist() == points.ids.tolist() and arrays["x"].tolist() == points.x.tolist()
    assert json.loads(arrays["captions"].tobytes()) == list("äbcde")
    assert all(at % 8 == 0 for _, _, at, _ in header["sections"])


def test_a_block_is_packed_once_and_equal_points_have_equal_blocks():
    points = some()
    assert _points_block(points, "map") is _points_block(points, "map")
    assert _points_block(points, "map") == _points_block(some(), "map")
    assert _points_block(points, "map") != _points_block(some(colours=("#000000",)), "map")


def test_limits_leave_out_what_is_not_finite():
    value = np.array([1, np.nan, 3, np.inf, 2], np.float32)
    header, _ = read(_points_block(some(category=None, value=value, names=(), shapes=()), "map"))
    assert header["limits"] == [1, 3]
    nothing = np.full(5, np.nan, np.float32)
    assert read(_points_block(some(category=None, value=nothing, names=(), shapes=()), "map"))[0]["limits"] == [0, 1]


def test_a_sprite_is_sent_as_bytes():
    header, arrays = read(_sprite_block("data:image/png;base64,AQID", "map"))
    assert arrays["image"].tolist() == [1, 2, 3] and header["url"] is None
    assert read(_sprite_block("/app/static/sheet.png", "map"))[0]["url"] == "/app/static/sheet.png"
    assert read(_sprite_block(None, "map"))[1] == {}


def test_tiles_are_those_that_were_asked_for():
    tiles = np.random.default_rng(0).integers(0, 256, (200, 2, 3, 3), dtype=np.uint8)
    points = some(200, tiles=tiles, tile=(3, 2), name="a")
    assert read(_points_block(points, "map"))[0]["asks"] == 3 and read(_points_block(some(), "map"))[0]["asks"] == 0
    header, arrays = read(_tiles_block(points, "map", {"of": "a", "rows": [150, 3], "asked": 7}))
    assert header["of"] == "a" and header["rows"] == [3, 150] and header["asked"] == 7 and header["size"] == 18
    assert np.array_equal(arrays["pixels"].reshape(2, 2, 3, 3), tiles[[3, 150]])
    header, _ = read(_tiles_block(points, "map", {"of": "a", "rows": list(range(200)), "asked": 8}))
    assert header["rows"] == list(range(MOST_TILES))


@pytest.mark.parametrize(
    "wanted", [None, 3, {}, {"of": "b", "rows": [1]}, {"of": "a", "rows": [-1, 200, "1", None, True, 2.0, [3]]}, {"of": "a", "rows": "12"}]
)
def test_other_questions_bring_no_tile(wanted):
    points = some(200, tiles=np.ones((200, 2, 3, 1), np.uint8), tile=(3, 2), name="a")
    header, arrays = read(_tiles_block(points, "map", wanted))
    assert header["rows"] == [] and not len(arrays["pixels"])


def app(first):
    import numpy as np
    import streamlit as st

    from pages.parts.picker import Points, pick, take

    log = st.session_state.setdefault("log", [])
    if first:
        log.extend(take("map"))
    points = Points(ids=np.array([4, 8], np.int32), x=np.zeros(2, np.float32), y=np.ones(2, np.float32), value=np.ones(2, np.float32))
    log.extend(pick(points, [], key="map"))


@pytest.mark.parametrize("first", [True, False])
def test_a_page_gets_a_gesture_exactly_once(first):
    at = AppTest.from_function(app, args=(first,)).run()
    assert not at.exception and list(at.session_state["log"]) == []
    desk = at.session_state["picker:map"]
    at.session_state["map"] = {"ops": message(desk, (1, "add", "click", encode_ids([8])))}
    for _ in range(3):
        at.run()
        assert not at.exception
        assert at.session_state["log"] == [Gesture("add", "click", (8,))]
