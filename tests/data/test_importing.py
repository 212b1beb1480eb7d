"""One's own data: what good files become."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from unlearn_core.data import importing
from unlearn_core.data.importing import Options, source
from unlearn_core.data.importing.source import amount, short
from unlearn_core.errors import BadInput, Cancelled

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "age": RNG.integers(18, 90, 120),
        "town": RNG.choice(["Bern", "Ulm", "Zürich, Kreis 4"], 120),
        "income": RNG.normal(3000, 500, 120).round(2),
        "sex": RNG.choice(["f", "m"], 120),
        "record": [f"r{i:05}" for i in range(120)],
        "same": 1,
        "label": np.where(np.arange(120) % 3 == 0, "yes", "no"),
    }
)


def csv(frame=TABLE, **how) -> bytes:
    return frame.to_csv(index=False, **how).encode(how.get("encoding", "utf-8"))


def parquet(frame=TABLE) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def npy(array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def picture(pixels, form="PNG", **how) -> bytes:
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, form, **how)
    return out.getvalue()


def packed(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def grey(level: int, size=(9, 9)) -> bytes:
    return picture(np.full(size[::-1], level, np.uint8))


# tables ---------------------------------------------------------------------------------------------------

FORMS = {
    "comma": (csv(), "t.csv"),
    "semicolon": (csv(sep=";"), "t.csv"),
    "tabs": (csv(sep="\t"), "t.tsv"),
    "byte order mark": (b"\xef\xbb\xbf" + csv(), "t.CSV"),
    "windows lines": (csv().replace(b"\n", b"\r\n"), "t.csv"),
    "parquet": (parquet(), "t.parquet"),
    "parquet categories": (parquet(TABLE.astype({"town": "category"})), "t.parquet"),
    "jsonl": ("\n".join(json.dumps(row) for row in TABLE.to_dict("records")).encode(), "t.jsonl"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_table_in_every_form(form):
    found = importing.read(*FORMS[form], Options(protected=("sex",)))
    assert found.modality == "tabular" and found.title == "t" and found.class_names == ("no", "yes")
    assert np.array_equal(found.labels, np.arange(120) % 3 == 0)
    columns = {column.name: column for column in found.columns}
    assert list(columns) == ["age", "town", "income", "sex"]
    assert np.array_equal(columns["age"].values, TABLE.age) and np.allclose(columns["income"].values, TABLE.income)
    assert columns["town"].categories == ("Bern", "Ulm", "Zürich, Kreis 4")
    assert [columns["town"].categories[code] for code in columns["town"].values] == TABLE.town.tolist()
    assert found.groups["sex"].names == ("f", "m") and np.array_equal(found.groups["sex"].codes, TABLE.sex == "m")
    assert len(found.notes) == 2 and "record was left out: it has 120 different values" in found.notes[0]
    assert "same was left out: it has only one value" in found.notes[1] and found.duplicates == 0


def test_a_preview_says_what_the_columns_hold():
    frame = TABLE.assign(empty=np.nan, story=[f"once upon a time there was {i}" for i in range(120)])
    frame.loc[3:9, "age"] = np.nan
    found = {column.name: column for column in importing.preview(csv(frame), "t.csv")}
    kinds = {name: column.kind for name, column in found.items()}
    assert kinds == {
        "age": "number", "town": "category", "income": "number", "sex": "category", "record": "name", "same": "constant",
        "label": "category", "empty": "empty", "story": "text",
    }  # fmt: skip
    assert found["age"].missing == 7 and found["town"].distinct == 3 and found["label"].examples == ("yes", "no")
    assert importing.preview(npz(x=np.zeros((3, 3)), y=[1, 2, 3]), "t.npz") == ()


def test_missing_cells_in_many_spellings():
    text = "a,b,label\n" + "\n".join(
        f"{word},{other},{i % 2}"
        for i, (word, other) in enumerate(
            zip(["?", "NA", " nan ", "", "null", *map(str, range(25))], ["x", "y", "?", "None", "n/a"] * 6, strict=True)
        )
    )
    found = importing.read(text.encode(), "t.csv")
    number, words = found.columns
    assert np.array_equal(np.isnan(number.values), np.arange(30) < 5) and number.values[5:].tolist() == list(range(25))
    assert words.categories == ("x", "y") and np.array_equal(words.values, [0, 1, -1, -1, -1] * 6)
    assert found.class_names == ("0", "1") and found.labels.tolist() == [i % 2 for i in range(30)]


def test_types_that_a_person_corrects():
    code = np.arange(120) % 3 * 1000 + 3012
    rent = [f"{i},25" if i % 10 else "by arrangement" for i in range(120)]
    frame = TABLE.assign(code=code, rent=rent, seen=np.where(code == 3012, "", code.astype(str)))
    info = {column.name: column for column in importing.preview(csv(frame), "t.csv")}
    assert (info["rent"].kind, info["rent"].numbers, info["town"].numbers, info["age"].numbers) == ("name", 108, 0, 120)
    found = importing.read(csv(frame), "t.csv", Options(categories=("code", "record", "seen"), numbers=("rent",), protected=("code",)))
    columns = {column.name: column for column in found.columns}
    assert columns["code"].categories == ("3012", "4012", "5012") and columns["code"].values.tolist() == (np.arange(120) % 3).tolist()
    assert columns["seen"].categories == ("4012", "5012") and (columns["seen"].missing == (code == 3012)).all()
    assert len(columns["record"].categories) == 120 and found.groups["code"].names == ("3012", "4012", "5012")
    expected = np.where(np.arange(120) % 10, np.arange(120) + 0.25, np.nan)
    assert np.array_equal(columns["rent"].values, expected, equal_nan=True)
    assert "rent: 12 values that are no numbers count as missing." in found.notes
    for options, field in (
        ({"numbers": ("town",)}, "numbers"),
        ({"categories": ("none",)}, "categories"),
        ({"numbers": ("label",)}, "numbers"),
    ):
        with pytest.raises(BadInput) as caught:
            importing.read(csv(frame), "t.csv", Options(**options))
        assert caught.value.field == field
    many = csv(pd.DataFrame({"a": np.arange(1500), "b": 1.5, "label": np.arange(1500) % 2}))
    with pytest.raises(BadInput, match="'a' has 1,500 different numbers"):
        importing.read(many, "t.csv", Options(categories=("a",)))


def test_a_container_allows_less_than_the_machine(tmp_path):
    for name, text in (("memory.max", "1000000000"), ("memory.current", "700000000"), ("memory.stat", "anon 5\ninactive_file 100000000\n")):
        (tmp_path / name).write_text(text)
    assert source._of_container(tmp_path) == 400_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert source._of_container(tmp_path) == source._of_container(tmp_path / "none") == 10**15


def test_rows_without_a_target_are_dropped_and_said():
    frame = TABLE.assign(label=TABLE.label.where(np.arange(120) % 10 != 0))
    found = importing.read(csv(frame), "t.csv")
    assert len(found) == 108 and "12 of 120 rows without a target" in found.notes[0]
    assert np.array_equal(found.columns[0].values, TABLE.age[np.arange(120) % 10 != 0])


def test_dates_and_truth_values_in_parquet():
    frame = TABLE.assign(day=pd.date_range("1970-01-02", periods=120), fine=np.arange(120) % 2 == 0)
    frame["fine"] = frame["fine"].astype("boolean").where(np.arange(120) > 2)
    columns = {column.name: column for column in importing.read(parquet(frame), "t.parquet").columns}
    assert np.array_equal(columns["day"].values, np.arange(1, 121))
    assert columns["fine"].categories == ("false", "true") and columns["fine"].values[:5].tolist() == [-1, -1, -1, 0, 1]


def test_protected_numbers_become_four_groups():
    ages = importing.read(csv(), "t.csv", Options(protected=("age",), leave_out=("age", "income"))).groups["age"]
    assert len(ages.names) == 4 and np.bincount(ages.codes).min() >= 20
    few = TABLE.assign(rooms=np.arange(120) % 4)
    rooms = importing.read(csv(few), "t.csv", Options(protected=("rooms",))).groups["rooms"]
    assert rooms.names == ("0", "1", "2", "3") and np.array_equal(rooms.codes, np.arange(120) % 4)
    few.loc[few.rooms == 2, "rooms"] = np.nan
    rooms = importing.read(csv(few), "t.csv", Options(protected=("rooms",))).groups["rooms"]
    assert rooms.names == ("0", "1", "3", "(missing)") and rooms.codes[:4].tolist() == [0, 1, 3, 2]


def test_two_numbers_are_points():
    found = importing.read(csv(TABLE[["age", "income", "label"]]), "t.csv")
    assert found.modality == "points" and found.inputs.shape == (120, 2) and found.feature_names == ("age", "income")


def test_classes_are_in_their_natural_order():
    frame = TABLE.assign(label=np.arange(120) % 11 - 1)
    assert importing.read(csv(frame), "t.csv", Options()).class_names == tuple(str(i) for i in range(-1, 10))


def test_twins_are_counted_and_dropped_on_demand():
    frame = pd.concat([TABLE, TABLE[:7]]).drop(columns="record")
    frame.iloc[-1, frame.columns.get_loc("label")] = "no"  # the first row says yes; a twin all the same? inputs decide
    found = importing.read(csv(frame), "t.csv")
    assert found.duplicates == 7 and any("equal an earlier one: 7." in note for note in found.notes) and len(found) == 127
    cleaned = importing.read(csv(frame), "t.csv", Options(drop_duplicates=True))
    assert cleaned.duplicates == 0 and len(cleaned) == 120 and np.array_equal(cleaned.labels, found.labels[:120])
    assert np.array_equal(cleaned.columns[0].values, TABLE.age)
    gaps = pd.DataFrame({"a": [np.nan, np.nan, *range(28)], "b": 1.5, "c": list("xy") * 15, "label": [0, 1] * 15})
    gaps.loc[1, "c"] = "x"
    assert importing.read(csv(gaps), "t.csv").duplicates == 1  # missing equals missing


def test_small_classes_are_left_out_on_demand():
    frame = TABLE.assign(label=TABLE.label.where(np.arange(120) > 3, "rare"))
    found = importing.read(csv(frame), "t.csv", Options(drop_small=True))
    assert found.class_names == ("no", "yes") and len(found) == 116 and "rare" in found.notes[-1]


# texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_texts(form):
    frame = pd.DataFrame({"body": [f"mail {i},\nwith a 'second' line" for i in range(40)], "kind": ["a", "b"] * 20})
    content = frame.to_json(orient="records", lines=True, force_ascii=False).encode() if form == "jsonl" else csv(frame)
    found = importing.read(content, f"mails.{form}", Options(target="kind", text="body"))
    assert found.modality == "text" and found.texts == tuple(frame.body) and found.class_names == ("a", "b")


# arrays ---------------------------------------------------------------------------------------------------

LABELS = np.arange(60) % 3


@pytest.mark.parametrize(
    ("inputs", "shape", "modality"),
    [
        (RNG.normal(size=(60, 5)), (60, 5), "tabular"),
        (RNG.integers(-5, 5, (60, 2)), (60, 2), "points"),
        (RNG.integers(0, 256, (60, 8, 9), np.uint8), (60, 1, 8, 9), "image"),
        (RNG.integers(0, 256, (60, 8, 9, 3), np.uint8), (60, 3, 8, 9), "image"),
        (RNG.integers(0, 256, (60, 3, 8, 9), np.uint8), (60, 3, 8, 9), "image"),
        (RNG.random((60, 8, 8, 1)), (60, 1, 8, 8), "image"),
        (RNG.random((60, 8, 8)) * 255, (60, 1, 8, 8), "image"),
        (RNG.random((60, 8, 8)) > 0.5, (60, 1, 8, 8), "image"),
        (np.asfortranarray(RNG.normal(size=(60, 5))), (60, 5), "tabular"),
        (RNG.normal(size=(60, 5)).astype(">f4"), (60, 5), "tabular"),
    ],
)
def test_arrays(inputs, shape, modality):
    found = importing.read(npz(x=inputs, y=LABELS), "a.npz")
    assert found.inputs.shape == shape and found.modality == modality and np.array_equal(found.labels, LABELS)
    assert found.inputs.dtype == (np.uint8 if modality == "image" else np.float32)
    if modality != "image":
        assert np.allclose(found.inputs, inputs)
    elif inputs.shape == shape:
        assert np.array_equal(found.inputs, inputs)
    else:
        level = inputs * 255.0 if inputs.max() <= 1 else inputs
        level = level[:, None] if inputs.ndim == 3 else level.transpose(0, 3, 1, 2)
        assert np.abs(found.inputs - level.astype(np.float64)).max() <= 0.5


@pytest.mark.parametrize("labels", [LABELS.astype(float), np.array(["c0", "c1", "c2"])[LABELS], LABELS[:, None], LABELS.astype(np.uint8)])
def test_labels_of_several_kinds(labels):
    found = importing.read(npz(inputs=RNG.normal(size=(60, 4)), my_labels=labels), "a.npz", Options(target="my_labels"))
    assert np.array_equal(found.labels, LABELS) and [name[-1] for name in found.class_names] == ["0", "1", "2"]


def test_a_table_of_numbers_alone():
    table = np.column_stack([RNG.normal(size=(60, 3)), LABELS])
    found = importing.read(npy(table), "a.npy")
    assert np.allclose(found.inputs, table[:, :3]) and np.array_equal(found.labels, LABELS) and "last column" in found.notes[0]
    first = importing.read(npy(table[:, [3, 0, 1, 2]]), "a.npy", Options(target="0"))
    assert np.allclose(first.inputs, table[:, :3]) and np.array_equal(first.labels, LABELS)


# pictures -------------------------------------------------------------------------------------------------


def folders(**more) -> dict[str, bytes]:
    return {f"{name}/{i}.png": grey(10 * i + code) for code, name in enumerate(("cat", "dog")) for i in range(12)} | more


@pytest.mark.parametrize("around", ["", "my pictures/", "a/b/"])
def test_class_folders(around, tmp_path):
    entries = {around + name: content for name, content in folders().items()}
    found = importing.read(packed(entries | {around + "note.txt": b"x", "__MACOSX/cat/._0.png": b"x"}), "p.zip")
    assert found.modality == "image" and found.class_names == ("cat", "dog") and found.inputs.shape == (24, 1, 9, 9)
    order = sorted(range(12), key=str)
    assert found.inputs[:, 0, 0, 0].tolist() == [10 * i for i in order] + [10 * i + 1 for i in order]
    assert "2 files that are no pictures" in found.notes[0] and found.first_test is None
    for name, content in entries.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / around / "cat" / "link.png").symlink_to(tmp_path / around / "dog" / "0.png")
    again = importing.read(tmp_path)
    assert (
        np.array_equal(again.inputs, found.inputs)
        and np.array_equal(again.labels, found.labels)
        and "1 file that is no picture" in again.notes[0]
    )


def test_many_pictures_report_and_can_be_stopped():
    told = []
    importing.read(packed(folders()), "p.zip", Options(), lambda words, share: told.append((share, words)))
    assert told == sorted(told, key=lambda one: one[0]) and told[0][0] == 0 and told[-1][0] < 1 and len(told) == 49
    assert [words for _, words in told][::24] == ["Looking at picture 1 of 24", "Reading picture 1 of 24", "Looking for duplicates"]

    def stop(words, share):
        if share > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        importing.read(packed(folders()), "p.zip", Options(), stop)


def test_a_test_folder_stays_the_test_set():
    entries = {f"train/{name}": content for name, content in folders().items()}
    entries |= {"test/dog/0.png": grey(250), "test/cat/1.png": grey(251), "val/cat/1.png": grey(249)}
    found = importing.read(packed(entries), "p.zip")
    assert found.first_test == 25 and found.labels[25:].tolist() == [0, 1] and found.inputs[25:, 0, 0, 0].tolist() == [251, 250]


def test_pictures_of_every_kind_become_alike():
    red = np.zeros((20, 30, 4), np.uint8)
    red[..., 0] = red[..., 3] = 255
    clear = np.zeros((20, 20, 4), np.uint8)
    palette = Image.fromarray(red[..., :3]).convert("P")
    turned = Image.fromarray(np.vstack([np.full((5, 20), 255, np.uint8), np.zeros((15, 20), np.uint8)]))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    kinds = {
        "0.png": picture(red),
        "1.png": picture(clear),
        "2.gif": picture(palette, "GIF"),
        "3.jpg": picture(turned, "JPEG", exif=exif),
        "4.png": picture(np.full((20, 20), 40_000, np.uint16)),
        "5.bmp": picture(red[..., :3], "BMP"),
        "6.webp": picture(red[..., :3], "WEBP"),
        "7.pgm": picture(np.full((5, 5), 9, np.uint8), "PPM"),
        "8.PNG": grey(77, (33, 21)),
        "9.png": picture(Image.fromarray(red).convert("LA")),
    }
    entries = {f"a/{name}": content for name, content in kinds.items()} | {f"b/{name}": content for name, content in kinds.items()}
    found = importing.read(packed(entries), "p.zip", Options(side=16))
    assert found.inputs.shape == (20, 3, 16, 16) and "scaled to 16×16" in found.notes[0] and found.duplicates >= 10
    first = found.inputs[:10].astype(int)
    for row in (0, 2, 5, 6):
        assert np.abs(first[row].mean(axis=(1, 2)) - [255, 0, 0]).max() < 3, row
    assert (first[1] == 255).all()  # clear means white
    assert first[3][:, :8].mean() < 10 and first[3][:, 13:].mean() > 240  # turned back
    assert np.abs(first[4] - 40_000 / 257).max() <= 1
    assert (first[7] == 9).all() and (first[8] == 77).all() and np.ptp(first[9]) == 0


def test_sizes_are_kept_where_they_agree_and_are_small():
    assert importing.read(packed(folders()), "p.zip").notes == ()
    large = {name: grey(i, (120, 100)) for i, name in enumerate(folders())}
    found = importing.read(packed(large), "p.zip")
    assert found.inputs.shape == (24, 1, 64, 64) and "Pictures of 1 size were" in found.notes[0]
    oblong = {name: grey(i, (12, 7)) for i, name in enumerate(folders())}
    assert importing.read(packed(oblong), "p.zip").inputs.shape == (24, 1, 7, 12)


# sizes ----------------------------------------------------------------------------------------------------


def test_a_file_that_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    sparse = tmp_path / "large.csv"
    with open(sparse, "wb") as content:
        content.truncate(2_000_000_000)
    monkeypatch.setattr(source.Source, "open", lambda self: pytest.fail("it was opened"))
    with pytest.raises(BadInput, match="large.csv holds 2 GB; this machine can take in about"):
        importing.read(sparse)
    monkeypatch.setattr(source, "available", lambda: 8_000_000)
    with pytest.raises(BadInput, match="t.csv holds 3 MB; this machine can take in about 1 MB now"):
        importing.read(b"x" * 3_000_000, "t.csv")


def test_amounts_and_names_for_people():
    assert [amount(size) for size in (7, 12_345, 3_000_000, 2_100_000_000)] == ["7 bytes", "12.3 kB", "3 MB", "2.1 GB"]
    assert source.available() > 10_000_000
    assert short("a\x1b[31m\u202eb") == "a·[31m·b" and len(short("x" * 500)) == source.SHORT
