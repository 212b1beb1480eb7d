"""Files that nobody should send: each is refused in one sentence that names the field and the fix."""

import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
from data.test_importing import LABELS, TABLE, csv, folders, grey, npy, npz, packed, parquet, picture

from unlearn_core.data import importing
from unlearn_core.data.importing import Options
from unlearn_core.errors import BadInput


class Evil:
    """A pickle of this would create a file."""

    def __reduce__(self):
        return os.mkdir, ("opened-a-pickle",)


X = np.random.default_rng(0).normal(size=(60, 4))


def table(**columns) -> bytes:
    return csv(TABLE.assign(**columns))


def crafted(name: str, content: bytes = b"x", **fields) -> bytes:
    """A zip of good pictures and one strange member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for good, raw in folders().items():
            archive.writestr(good, raw)
        member = zipfile.ZipInfo(name)
        for field, value in fields.items():
            setattr(member, field, value)
        archive.writestr(member, content)
    return out.getvalue()


def encrypted() -> bytes:
    content = bytearray(packed(folders()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + offset] |= 1
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(packed(folders()))
    content[60] ^= 255  # within the first member
    return bytes(content)


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def npy_header(text: str, body: bytes = b"") -> bytes:
    text = text.ljust(118) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def npz_of(**members: bytes) -> bytes:
    return packed({f"{name}.npy": content for name, content in members.items()})


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return out.getvalue()


OBJECTS = io.BytesIO()
np.savez(OBJECTS, x=np.array([Evil()] * 20, dtype=object), y=np.arange(20) % 2)
OBJECT_ARRAY = io.BytesIO()
np.save(OBJECT_ARRAY, np.array([[Evil(), 1]] * 20, dtype=object))
WIDE = ",".join(f"c{i}" for i in range(6000)) + "\n" + ",".join("1" * 6000) + "\n"
ZEROS = npz(x=np.zeros((200_000, 80)), y=np.arange(200_000) % 2)

# name of the case: (content, file name, options, field that the message must name)
BAD = {
    # what it is
    "empty": (b"", "t.csv", {}, "file"),
    "pickle": (pickle.dumps(Evil()), "t.pkl", {}, "file"),
    "pickle called csv": (pickle.dumps(Evil()), "t.csv", {}, "file"),
    "pickle called npy": (pickle.dumps(Evil(), 2), "t.npy", {}, "file"),
    "torch file": (packed({"archive/data.pkl": pickle.dumps(Evil())}), "model.pt", {}, "file"),
    "joblib": (b"anything", "t.joblib", {}, "file"),
    "spreadsheet": (packed({"xl/workbook.xml": b"<x/>"}), "t.xlsx", {}, "file"),
    "no ending": (b"a,b\n1,2\n", "data", {}, "file"),
    "tar": (tarred(), "t.tar.gz", {}, "file"),
    # tables
    "binary called csv": (bytes(range(256)) * 50, "t.csv", {}, "encoding"),
    "latin-1": (csv().decode().encode("latin-1"), "t.csv", {}, "encoding"),
    "utf-16": (csv().decode().encode("utf-16"), "t.csv", {}, "encoding"),
    "nul bytes": (csv().replace(b"Bern", b"Be\0n"), "t.csv", {}, "encoding"),
    "ends within a character": (csv(TABLE[["town", "label"]]) + "x,ü".encode()[:-1], "t.csv", {}, "encoding"),
    "only a header": (b"a,b,label\n", "t.csv", {}, "file"),
    "only line ends": (b"\n\n\n", "t.csv", {}, "columns"),
    "one column": (b"label\n" + b"a\nb\n" * 30, "t.csv", {}, "columns"),
    "no header": (csv().split(b"\n", 1)[1], "t.csv", {}, "target"),
    "numbers for a header": (b"1.5,2,0\n" * 40, "t.csv", {}, "columns"),
    "column without a name": (csv().replace(b"town", b"", 1), "t.csv", {}, "columns"),
    "same name twice": (csv().replace(b"town", b"age", 1), "t.csv", {}, "columns"),
    "same name but for blanks": (csv().replace(b"town", b" age ", 1), "t.csv", {}, "columns"),
    "endless name": (csv().replace(b"town", b"t" * 5000, 1), "t.csv", {}, "columns"),
    "too long a row": (csv() + b"1,2,3,4,5,6,no,8\n", "t.csv", {}, "file"),
    "too short a row": (csv() + b"1,2\n", "t.csv", {}, "file"),
    "open quote": (csv() + b'1,"never closed,\n' + csv()[:2000], "t.csv", {}, "file"),
    "6000 columns": (WIDE.encode(), "t.csv", {}, "columns"),
    "infinity": (table(income=np.inf), "t.csv", {}, "columns"),
    "overflow": (table(income="1e999"), "t.csv", {}, "columns"),
    "too large a number": (table(income=1e200), "t.csv", {}, "columns"),
    "no target named": (csv(TABLE.rename(columns={"label": "result"})), "t.csv", {}, "target"),
    "target is not there": (csv(), "t.csv", {"target": "outcome"}, "target"),
    "target without values": (table(label=np.nan), "t.csv", {}, "target"),
    "one class": (table(label="yes"), "t.csv", {}, "target"),
    "one class and blanks": (csv(TABLE.assign(label=TABLE.label.where(TABLE.label == "yes"))), "t.csv", {}, "target"),
    "a class for each row": (table(label=[f"c{i}" for i in range(120)]), "t.csv", {}, "target"),
    "a million classes": (b"a,b,label\n" + b"".join(b"1,2,%d\n" % i for i in range(1_000_000)), "t.csv", {}, "target"),
    "a number to predict": (pd.DataFrame({"a": range(3000), "b": 1.5, "y": np.arange(3000) / 7}).to_csv().encode()[0:], "t.csv", {"target": "y"}, "columns"),
    "long texts as target": (table(label=["word " * 100, "other " * 100] * 60), "t.csv", {}, "target"),
    "a class of nine": (table(label=["few"] * 9 + ["many"] * 111), "t.csv", {}, "target"),
    "too few rows": (csv(TABLE[:6]), "t.csv", {}, "target"),
    "nothing to learn from": (csv(TABLE[["record", "same", "label"]]), "t.csv", {}, "columns"),
    "protected is not there": (csv(), "t.csv", {"protected": ("race",)}, "protected"),
    "protected is the target": (csv(), "t.csv", {"protected": ("label",)}, "protected"),
    "protected is a name": (csv(), "t.csv", {"protected": ("record",)}, "protected"),
    "left out is not there": (csv(), "t.csv", {"leave_out": ("race",)}, "leave_out"),
    "text is not there": (csv(), "t.csv", {"text": "body"}, "text"),
    # Parquet
    "cut parquet": (parquet()[:-200], "t.parquet", {}, "file"),
    "csv called parquet": (csv(), "t.parquet", {}, "file"),
    "parquet with lists": (parquet(TABLE.assign(deep=[[1, 2]] * 120)), "t.parquet", {}, "columns"),
    "parquet with bytes": (parquet(TABLE.assign(raw=[b"\x80\x04"] * 120)), "t.parquet", {}, "columns"),
    "parquet with infinity": (parquet(TABLE.assign(income=-np.inf)), "t.parquet", {}, "columns"),
    # JSON lines
    "not json": (b'{"a": 1, "label": \n', "t.jsonl", {}, "file"),
    "bare values": (b"1\n2\n3\n", "t.jsonl", {}, "file"),
    "a whole list": (json.dumps(TABLE.to_dict("records")).encode(), "t.jsonl", {}, "file"),
    "nested": (b'{"a": {"b": 1}, "label": 0}\n', "t.jsonl", {}, "columns"),
    "deeply nested": (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n", "t.jsonl", {}, "file"),
    "infinity in json": (b'{"a": Infinity, "b": 2, "label": 0}\n', "t.jsonl", {}, "columns"),
    "a name for each line": (b"".join(b'{"k%d": 1, "label": 0}\n' % i for i in range(6000)), "t.jsonl", {}, "columns"),
    "jsonl in latin-1": ('{"a": "é", "label": 0}\n'.encode("latin-1"), "t.jsonl", {}, "encoding"),
    # arrays
    "objects in npz": (OBJECTS.getvalue(), "t.npz", {}, "file"),
    "objects in npy": (OBJECT_ARRAY.getvalue(), "t.npy", {}, "file"),
    "not a number": (npz(x=np.where(X > 1, np.nan, X), y=LABELS), "t.npz", {}, "inputs"),
    "infinite": (npz(x=np.where(X > 1, np.inf, X), y=LABELS), "t.npz", {}, "inputs"),
    "no labels": (npz(x=X), "t.npz", {}, "target"),
    "no inputs": (npz(y=LABELS), "t.npz", {}, "inputs"),
    "two candidates": (npz(x=X, data=X, y=LABELS), "t.npz", {}, "inputs"),
    "labels of another length": (npz(x=X, y=LABELS[:50]), "t.npz", {}, "target"),
    "labels with fractions": (npz(x=X, y=LABELS + 0.5), "t.npz", {}, "target"),
    "labels with nan": (npz(x=X, y=np.where(LABELS == 1, np.nan, LABELS)), "t.npz", {}, "target"),
    "complex": (npz(x=X + 1j, y=LABELS), "t.npz", {}, "file"),
    "structured": (npz(x=np.zeros(60, [("a", "f4"), ("b", "f4")]), y=LABELS), "t.npz", {}, "file"),
    "five axes": (npz(x=np.zeros((60, 2, 2, 2, 2)), y=LABELS), "t.npz", {}, "inputs"),
    "tiny pictures": (npz(x=np.zeros((60, 2, 2)), y=LABELS), "t.npz", {}, "inputs"),
    "pixels out of range": (npz(x=np.full((60, 8, 8), 300), y=LABELS), "t.npz", {}, "inputs"),
    "no rows": (npz(x=np.zeros((0, 4)), y=np.zeros(0, int)), "t.npz", {}, "file"),
    "one class in npz": (npz(x=X, y=np.zeros(60, int)), "t.npz", {}, "target"),
    "one axis": (npy(np.arange(50)), "t.npy", {}, "file"),
    "cut npy": (npy(np.column_stack([X, LABELS]))[:-8], "t.npy", {}, "file"),
    "cut npz": (npz(x=X, y=LABELS)[:-30], "t.npz", {}, "file"),
    "no npy at all": (b"\x93NUMPY", "t.npy", {}, "file"),
    "a terabyte in a header": (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 1250000)}"), "t.npy", {}, "file"),
    "negative length": (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-5, -5)}", bytes(200)), "t.npy", {}, "file"),
    "a program in a header": (npy_header("{'descr': __import__('os').mkdir('opened-a-pickle')}"), "t.npy", {}, "file"),
    "deep brackets in a header": (npy_header("(" * 100 + ")" * 18), "t.npy", {}, "file"),
    "npz of other things": (npz_of(x=npy(X)) + b"", "t.npz", {}, "target"),
    "npz with a script": (packed({"x.npy": npy(X), "y.npy": npy(LABELS), "run.py": b"x"}), "t.npz", {}, "file"),
    "npz bomb": (ZEROS, "t.npz", {}, "file"),
    "target column out of range": (npy(np.column_stack([X, LABELS])), "t.npy", {"target": "7"}, "target"),
    # pictures
    "not a zip": (b"PK\x03\x04 not really", "p.zip", {}, "file"),
    "cut zip": (packed(folders())[:-100], "p.zip", {}, "file"),
    "empty zip": (packed({}), "p.zip", {}, "file"),
    "zip bomb": (packed({"a/0.png": bytes(300_000_000)}), "p.zip", {}, "file"),
    "member called dot": (crafted("."), "p.zip", {}, "file"),
    "member without a name": (crafted("QZQZ").replace(b"QZQZ", b"\0QQQ"), "p.zip", {}, "file"),
    "climbing path": (crafted("../../evil.png"), "p.zip", {}, "file"),
    "absolute path": (crafted("/etc/evil.png"), "p.zip", {}, "file"),
    "drive": (crafted("C:/evil.png"), "p.zip", {}, "file"),
    "backslashes": (crafted("cat\\..\\..\\evil.png"), "p.zip", {}, "file"),
    "link": (crafted("cat/link.png", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16), "p.zip", {}, "file"),
    "password": (encrypted(), "p.zip", {}, "file"),
    "unusual packing": (crafted("cat/x.png", grey(1), compress_type=zipfile.ZIP_LZMA), "p.zip", {}, "file"),
    "archive within": (crafted("cat/more.zip", packed(folders())), "p.zip", {}, "file"),
    "damaged member": (damaged(), "p.zip", {}, "pictures"),
    "text called png": (crafted("cat/x.png", b"no picture"), "p.zip", {}, "pictures"),
    "empty picture": (crafted("cat/x.png", b""), "p.zip", {}, "pictures"),
    "cut picture": (crafted("cat/x.jpg", picture(np.zeros((50, 50, 3), np.uint8), "JPEG")[:400]), "p.zip", {}, "pictures"),
    "cut png": (crafted("cat/x.png", picture(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8))[:3000]), "p.zip", {}, "pictures"),
    "huge picture": (crafted("cat/x.png", png_of_size(20_000, 20_000)), "p.zip", {}, "pictures"),
    "large picture": (crafted("cat/x.png", png_of_size(10_000, 5_000)), "p.zip", {}, "pictures"),
    "picture of nothing": (crafted("cat/x.png", png_of_size(0, 10)), "p.zip", {}, "pictures"),
    "vector script called png": (crafted("cat/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "p.zip", {}, "pictures"),
    "no pictures": (packed({"a/readme.txt": b"x"}), "p.zip", {}, "pictures"),
    "no class folders": (packed({f"{i}.png": grey(i) for i in range(30)}), "p.zip", {}, "pictures"),
    "too deep": (packed(folders() | {"cat/inner/x.png": grey(3)}), "p.zip", {}, "pictures"),
    "one folder": (packed({f"cat/{i}.png": grey(i) for i in range(30)}), "p.zip", {}, "target"),
    "few pictures": (packed({f"{name}/{i}.png": grey(i) for name in "ab" for i in range(5)}), "p.zip", {}, "target"),
    "wrong side": (packed(folders()), "p.zip", {"side": 100_000}, "side"),
}  # fmt: skip


def test_the_corpus_is_large():
    assert len(BAD) >= 100


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(case, tmp_path, monkeypatch):
    content, name, options, field = BAD[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        importing.read(content, name, Options(**options))
    assert caught.value.field == field, str(caught.value)
    assert caught.value.problem.endswith(".") and caught.value.fix.endswith(".")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())  # nothing was run or unpacked


@pytest.mark.parametrize("case", [name for name, (_, file, _, _) in BAD.items() if file.endswith((".csv", ".parquet", ".jsonl"))])
def test_previews_of_bad_files_are_tables_or_refused(case):
    content, name, _, _ = BAD[case]
    try:
        found = importing.preview(content, name)
    except BadInput:
        return
    assert found and all(column.name for column in found)


def test_paths_that_lead_nowhere(tmp_path):
    for path in (tmp_path / "missing.csv", "/dev/null/x", ""):
        with pytest.raises(BadInput) as caught:
            importing.read(path)
        assert caught.value.fix
    with pytest.raises(BadInput, match="no pictures"):
        importing.read(tmp_path)
