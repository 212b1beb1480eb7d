"""The forget set: order, uniqueness, provenance, files, and ways to name one in text."""

import json
from contextlib import suppress

import numpy as np
import pytest

from unlearn_core import data
from unlearn_core.data import forget as forget_module
from unlearn_core.data.choose import amount, choose, draw
from unlearn_core.data.forget import ForgetSet, check_ids, parse_ids, read_forget_set
from unlearn_core.errors import BadInput

HASH = "0123456789abcdef"


def test_add_keeps_order_and_first_provenance():
    chosen = ForgetSet().add([5, 3], "clicked").add([3, 9, 9, 1], "lasso")
    assert chosen.ids == (5, 3, 9, 1)
    assert chosen.provenance == ("clicked", "clicked", "lasso", "lasso")
    assert len(chosen) == 4 and 9 in chosen and 4 not in chosen


def test_add_takes_any_whole_numbers():
    chosen = ForgetSet().add(np.array([7, 8]), "class 1").add(["8", 7, np.int32(6)], "typed")
    assert chosen.ids == (7, 8, 6)
    assert all(type(i) is int for i in chosen.ids)


def test_remove_and_name():
    chosen = ForgetSet().add([5, 3, 9], "clicked").remove([3, 77]).named("  two  ")
    assert chosen == ForgetSet((5, 9), ("clicked", "clicked"), "two")
    assert chosen.remove([5, 9]) == ForgetSet(name="two")


@pytest.mark.parametrize(("ids", "how"), [((1, 1), ("a", "b")), ((1, 2), ("a",)), ((), ("a",))])
def test_inconsistent_sets_cannot_exist(ids, how):
    with pytest.raises(ValueError):
        ForgetSet(ids, how)


NAMES = ["", "plain", 'quote " comma , semicolon ;', "two\nlines", "naïve ∇τ 数", "=1+1", "{", "'"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["to_csv", "to_json"])
def test_export_and_import_return_the_same_set(name, form):
    rng = np.random.default_rng(len(name))
    ids = rng.choice(2000, 40, replace=False)
    chosen = ForgetSet().add(ids[:20], "lasso").add(ids[20:], "neighbours of 17, k = 3").named(name)
    content = getattr(chosen, form)("digits", HASH).encode()
    assert read_forget_set(content, "digits", HASH) == chosen
    assert read_forget_set(b"\xef\xbb\xbf" + content, "digits", HASH) == chosen  # as spreadsheets save it


def _json(**parts) -> bytes:
    return json.dumps({"dataset": "digits", "dataset_hash": HASH, "instances": [{"id": 3}]} | parts).encode()


def _json_id(id_text: str) -> bytes:
    return f'{{"dataset": "digits", "instances": [{{"id": {id_text}}}]}}'.encode()


HOSTILE = {
    "empty": b"",
    "blank": b"  \n\n",
    "other dataset": _json(dataset="wine"),
    "other contents": _json(dataset_hash="f" * 16),
    "no dataset": _json(dataset=None),
    "dataset of the wrong type": _json(dataset=["digits"]),
    "huge dataset name": _json(dataset="x" * 1_000_000),
    "not utf-8": b"id,dataset\n\xff\xfe,digits\n",
    "utf-16": "id,dataset\n3,digits\n".encode("utf-16"),
    "binary": bytes(range(256)) * 4,
    "broken json": b'{"dataset": "digits", "instances": [',
    "json list": b"[1, 2, 3]",
    "no instances": b'{"dataset": "digits"}',
    "instances a number": _json(instances=7),
    "instances a text": _json(instances="3,4"),
    "instances an object": _json(instances={"id": 3}),
    "instances bare numbers": _json(instances=[1, 2]),
    "instances null": _json(instances=[None]),
    "no id": _json(instances=[{"how": "clicked"}]),
    "id null": _json_id("null"),
    "id true": _json_id("true"),
    "id text": _json_id('"three"'),
    "id list": _json_id("[3]"),
    "id NaN": _json_id("NaN"),
    "id Infinity": _json_id("Infinity"),
    "id -Infinity": _json_id("-Infinity"),
    "id 1e999": _json_id("1e999"),
    "id float": _json_id("3.5"),
    "id negative": _json_id("-3"),
    "id of 400 digits": _json_id("9" * 400),
    "id of 5000 digits": _json_id("9" * 5000),
    "deep nesting": b'{"dataset":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep open nesting": b'{"a":' * 200_000,
    "csv without id": b"instance,dataset\n3,digits\n",
    "csv without dataset": b"id\n3\n",
    "csv only header": b"id,how,name,dataset,dataset_hash\n",
    "csv of another dataset": b"id,dataset\n3,wine\n",
    "csv of another hash": f"id,dataset,dataset_hash\n3,digits,{'e' * 16}\n".encode(),
    "csv of two datasets": b"id,dataset\n3,digits\n4,wine\n",
    "csv short row": b"how,dataset,id\nclicked,digits\n",
    "csv nan": b"id,dataset\nnan,digits\n",
    "csv inf": b"id,dataset\ninf,digits\n",
    "csv float": b"id,dataset\n3.5,digits\n",
    "csv negative": b"id,dataset\n-1,digits\n",
    "csv formula": b"id,dataset\n=1+1,digits\n",
    "csv huge field": b"id,dataset\n" + b'"' + b"3" * 200_000 + b'"' + b",digits\n",
    "csv open quote": b'id,dataset\n"3,digits\n',
    "9 MB": b"id,dataset\n" + b"3,digits\n" * 1_000_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_plain_words(case):
    with pytest.raises(BadInput) as caught:
        read_forget_set(HOSTILE[case], "digits", HASH)
    assert caught.value.field == "file" and caught.value.fix
    assert len(str(caught.value)) < 400


def test_random_bytes_never_raise_anything_but_bad_input():
    rng = np.random.default_rng(0)
    seeds = [
        ForgetSet().add([1, 2, 3], "a").named("n").to_csv("digits", HASH).encode(),
        ForgetSet().add([1, 2], "a").to_json("digits", HASH).encode(),
    ]
    refused = 0
    for round_ in range(600):
        content = bytearray(seeds[round_ % 2])
        for _ in range(int(rng.integers(1, 6))):
            content[rng.integers(len(content))] = rng.integers(256)
        try:
            found = read_forget_set(bytes(content), "digits", HASH)
            assert all(type(i) is int and i >= 0 for i in found.ids)
        except BadInput:
            refused += 1
    assert 0 < refused < 600


def test_repeated_ids_in_a_file_count_once():
    rows = [{"id": 3, "how": "first"}, {"id": 5}, {"id": 3, "how": "second"}, {"id": 5.0}]
    found = read_forget_set(_json(instances=rows), "digits", HASH)
    assert found.ids == (3, 5) and found.provenance == ("first", "imported")


def test_imported_texts_are_short_and_can_be_stored():
    found = read_forget_set(
        b'{"dataset": "digits", "name": "\\ud800' + b"n" * 500 + b'", "instances": [{"id": 1, "how": "\\udfff' + b"h" * 500 + b'"}]}',
        "digits",
        HASH,
    )
    for text in (found.name, *found.provenance):
        assert len(text) <= forget_module.MAX_TEXT
        text.encode("utf-8")


# names in text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("3", [3]),
        ("3,17, 20-23", [3, 17, 20, 21, 22, 23]),
        ("5-5;6\n7\t8", [5, 6, 7, 8]),
        ("", []),
        (" , ;", []),
        ("٣, ٤-٦", [3, 4, 5, 6]),  # Arabic-Indic digits are decimal digits
        ("007", [7]),
    ],
)
def test_typed_ids(text, ids):
    assert parse_ids(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        "-3",
        "3-",
        "-",
        "3--5",
        "5-3",
        "1.5",
        "1e3",
        "0x10",
        "²",
        "½",
        "three",
        "3-4-5",
        "9" * 5000,
        "0-99999999999999999999",
        "0-999999 0-999999",
        "3,b",
    ],
)
def test_typed_nonsense_is_refused(text):
    with pytest.raises(BadInput) as caught:
        parse_ids(text)
    assert caught.value.field == "ids" and len(str(caught.value)) < 200


def test_typed_ids_match_a_simple_reading():
    rng = np.random.default_rng(1)
    for _ in range(200):
        words, expected = [], []
        for _ in range(int(rng.integers(1, 8))):
            start = int(rng.integers(0, 5000))
            stop = start + int(rng.integers(0, 5))
            words.append(str(start) if rng.random() < 0.5 else f"{start}-{stop}")
            expected += [start] if "-" not in words[-1] else [*range(start, stop + 1)]
        assert parse_ids(rng.choice([",", " ", ";", "\n", ", "]).join(words)) == expected


def test_any_text_of_digit_like_characters_parses_or_is_refused():
    letters = list("0123456789-,; .eE+_²½٣۷Ⅳ一")
    rng = np.random.default_rng(2)
    for _ in range(500):
        text = "".join(rng.choice(letters, int(rng.integers(0, 12))))
        with suppress(BadInput):
            assert all(type(i) is int and i >= 0 for i in parse_ids(text[:9]))


TRAIN = [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "empty"),
        ([3], "outside the training split"),
        ([2, 10], "not in this dataset"),
        ([2, -1], "not in this dataset"),
        ([10**40], "not in this dataset"),
        (TRAIN, "every training instance"),
        ([4.0], "not a whole number"),
        (["4"], "not a whole number"),
        ([None], "not a whole number"),
        ([float("nan")], "not a whole number"),
    ],
)
def test_unusable_ids(ids, words):
    with pytest.raises(BadInput, match=words) as caught:
        check_ids(ids, TRAIN, 10)
    assert caught.value.field == "forget"


def test_usable_ids_come_back_once_and_plain():
    assert check_ids(np.array([6, 2, 6]), np.array(TRAIN), 10) == (6, 2)


# choose --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wine():
    return data.load("wine")


@pytest.mark.parametrize(
    ("text", "count"),
    [("0.03", 6), ("3%", 6), ("3.5%", 7), ("1e-9", 1), ("50", 50), ("200", 200), ("1", 1), ("0.9999", 200), ("100%", 200)],
)
def test_amounts(text, count):
    assert amount(text, 200) == count


@pytest.mark.parametrize(
    "text", ["0", "-1", "-0.1", "0.0", "1.5", "201", "nan", "inf", "-inf", "inf%", "", "%", "x", "101%", "1e999", "0.03:5"]
)
def test_amounts_out_of_range(text):
    with pytest.raises(BadInput, match="from 1 to 200") as caught:
        amount(text, 200)
    assert caught.value.field == "forget"


def test_random_sets_are_seeded_unique_train_ids(wine):
    first, same, other = choose("random:0.1", wine, 0), choose("random:0.1", wine, 0), choose("random:0.1", wine, 1)
    assert first == same and first.ids != other.ids
    assert len(first) == round(0.1 * len(wine.splits.train))
    assert np.isin(first.ids, wine.splits.train).all()
    assert len(choose("random:5", wine)) == 5
    assert set(first.provenance) == {f"random {len(first)}, seed 0"}


def test_draw_is_uniform_enough_and_bounded():
    ids = np.arange(100, 110)
    assert np.array_equal(draw(ids, 99, 0), ids)
    counts = np.bincount(np.concatenate([draw(ids, 3, seed) for seed in range(2000)]) - 100)
    assert counts.sum() == 6000 and abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_ids_and_ranges(wine):
    low = int(wine.splits.train[0])
    assert choose(f"ids:{low}-{low + 2},{low}", wine).ids == (low, low + 1, low + 2)


def test_classes_by_name_and_count(wine):
    train = wine.splits.train
    members = train[wine.labels[train] == 1]
    assert choose("class:class_1", wine).ids == tuple(members)
    some = choose("class:class_1:4", wine, 3)
    assert len(some) == 4 and np.isin(some.ids, members).all()
    assert len(choose("class:class_1:50%", wine)) == round(len(members) / 2)


def test_class_names_may_contain_colons(wine):
    from dataclasses import replace

    named = replace(wine, class_names=("a:b", "a", "c:3"))
    whole = choose("class:a:b", named)
    assert set(wine.labels[list(whole.ids)]) == {0}
    assert set(wine.labels[list(choose("class:c:3", named).ids)]) == {2}
    some = choose("class:a:b:5", named)
    assert len(some) == 5 and set(wine.labels[list(some.ids)]) == {0}


def test_files_by_path(wine, tmp_path):
    chosen = ForgetSet().add(wine.splits.train[[4, 1]], "clicked").named("two")
    path = tmp_path / "set with: colon.csv"
    path.write_text(chosen.to_csv("wine", wine.hash))
    assert choose(f"file:{path}", wine) == chosen
    path.write_text(chosen.to_csv("digits", wine.hash))
    with pytest.raises(BadInput, match="belongs to the dataset 'digits'"):
        choose(f"file:{path}", wine)
    path.write_bytes(b"id,dataset\n" + b"3,wine\n" * 1_300_000)
    with pytest.raises(BadInput, match="larger than 8 MB"):
        choose(f"file:{path}", wine)


@pytest.mark.parametrize(
    "text",
    ["", "random", "random:", "random:x", "ids", "ids:", "ids:a", "class:", "class:class_9", "class:class_1:0", "class:class_1:x", "file:", "file:/nowhere/at.all", "file:/", "file:a\0b", "everything", ":", "RANDOM:3"],
)  # fmt: skip
def test_texts_that_name_no_set(text, wine):
    with pytest.raises(BadInput) as caught:
        choose(text, wine)
    assert caught.value.field == "forget" and caught.value.fix
