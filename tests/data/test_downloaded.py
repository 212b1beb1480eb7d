"""Readers of the downloaded datasets, on small files of the same format that the tests write."""

import csv
import gzip
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from unlearn_core import data
from unlearn_core.data import adult, cifar, faces, files, location, mnist, svhn, texts
from unlearn_core.data.archives import members
from unlearn_core.data.matlab import read_mat
from unlearn_core.errors import BadInput

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """UNLEARN_DATA_DIR, in which any content counts as the published one."""
    monkeypatch.setenv("UNLEARN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("UNLEARN_OFFLINE", "1")
    monkeypatch.setattr(files, "_matches", lambda file, path: True)
    return tmp_path


def put(folder, path, content: bytes):
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def tar(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def encoded(pixels: np.ndarray, form: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


# idx ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_become_a_dataset(name, folder):
    images = RNG.integers(0, 256, (260, 28, 28), np.uint8)
    labels = np.arange(260) % 10
    for part, rows in (("train", slice(0, 200)), ("t10k", slice(200, 260))):
        put(folder, f"{name}/{part}-images-idx3-ubyte.gz", idx(images[rows]))
        put(folder, f"{name}/{part}-labels-idx1-ubyte.gz", idx(labels[rows]))
    found = data.load(name)
    assert np.array_equal(found.inputs, images[:, None]) and found.inputs.dtype == np.uint8
    assert np.array_equal(found.labels, labels) and found.labels.dtype == np.int64
    assert np.array_equal(found.splits.test, np.arange(200, 260))
    some = data.load(name, {"subset": 60})
    assert len(some.splits.train) == 60 and np.array_equal(np.bincount(some.labels[some.splits.train]), [6] * 10)
    assert (some.inputs[:, None] == images[None, :, None]).all(axis=(2, 3, 4)).any(axis=1).all()


GOOD = idx(RNG.integers(0, 256, (5, 4, 4)))
BAD_IDX = {
    "not gzipped": gzip.decompress(GOOD),
    "cut": GOOD[:-20],
    "empty": b"",
    "another type": gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"),
    "no axes": gzip.compress(b"\0\0\x08\0"),
    "too few bytes": gzip.compress(gzip.decompress(GOOD)[:-1]),
    "too many bytes": gzip.compress(gzip.decompress(GOOD) + b"\0"),
    "negative length": gzip.compress(b"\0\0\x08\x02" + np.array([-1, -1], ">i4").tobytes() + b"\0"),
    "huge length": gzip.compress(b"\0\0\x08\x03" + np.array([2**31 - 1] * 3, ">i4").tobytes()),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_other_idx_files_are_refused(case, tmp_path):
    with pytest.raises(BadInput, match="not a gzipped idx file"):
        mnist.read_idx(put(tmp_path, "x.gz", BAD_IDX[case]))


# CIFAR ----------------------------------------------------------------------------------------------------


def cifar_records(images, *labels) -> bytes:
    return b"".join(bytes(code) + image.tobytes() for image, *code in zip(images, *labels, strict=True))


def test_cifar10_binary(folder):
    images = RNG.integers(0, 256, (120, 3, 32, 32), np.uint8)
    labels = np.arange(120) % 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    parts = {f"cifar-10-batches-bin/{name}": cifar_records(images[i::6], labels[i::6]) for i, name in enumerate(names)}
    order = np.concatenate([np.arange(120)[i::6] for i in range(6)])
    # In any order within the archive, and beside other things.
    entries = dict(reversed(parts.items())) | {"cifar-10-batches-bin/readme.html": b"x", "../evil": b"x", "/etc/evil": b"x"}
    entries["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(mnist.FASHION[i].split()[0] for i in range(10)).encode() + b"\n\n"
    put(folder, "cifar10/cifar-10-binary.tar.gz", tar(entries))
    found = data.load("cifar10")
    assert np.array_equal(found.inputs, images[order]) and np.array_equal(found.labels, labels[order])
    assert np.array_equal(found.splits.test, np.arange(100, 120)) and found.class_names[1] == "Trouser"
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["cifar-10-binary.tar.gz"]


def test_cifar100_binary_has_superclasses(folder):
    images = RNG.integers(0, 256, (300, 3, 32, 32), np.uint8)
    fine = np.arange(300) % 100
    coarse = fine // 5
    put(
        folder,
        "cifar100/cifar-100-binary.tar.gz",
        tar(
            {
                "cifar-100-binary/train.bin": cifar_records(images[:200], coarse[:200], fine[:200]),
                "cifar-100-binary/test.bin": cifar_records(images[200:], coarse[200:], fine[200:]),
                "cifar-100-binary/coarse_label_names.txt": "\n".join(f"super{i}" for i in range(20)).encode(),
                "cifar-100-binary/fine_label_names.txt": "\n".join(f"fine{i}" for i in range(100)).encode(),
            }
        ),
    )
    found = data.load("cifar100")
    assert np.array_equal(found.labels, fine) and np.array_equal(found.inputs, images)
    assert np.array_equal(found.groups["superclass"].codes, coarse) and found.groups["superclass"].names[3] == "super3"
    assert found.class_names[42] == "fine42"


@pytest.mark.parametrize("spoil", ["missing", "odd length", "label out of range", "not an archive", "cut archive"])
def test_other_cifar_archives_are_refused(spoil, tmp_path):
    record = bytes([7]) + bytes(3072)
    parts = {f"cifar-10-batches-bin/data_batch_{i}.bin": record for i in range(1, 6)}
    parts |= {"cifar-10-batches-bin/test_batch.bin": record, "cifar-10-batches-bin/batches.meta.txt": b"a b c d e f g h i j"}
    if spoil == "missing":
        del parts["cifar-10-batches-bin/data_batch_3.bin"]
    if spoil == "odd length":
        parts["cifar-10-batches-bin/data_batch_3.bin"] += b"\0"
    if spoil == "label out of range":
        parts["cifar-10-batches-bin/test_batch.bin"] = bytes([10]) + bytes(3072)
    content = {"not an archive": b"x" * 100, "cut archive": tar(parts)[:80]}.get(spoil, tar(parts))
    with pytest.raises(BadInput):
        cifar.read_binary(put(tmp_path, "x.tar.gz", content), "cifar10")


def test_the_jpeg_copy_names_itself(folder):
    entries = {"README.md": b"x"}
    for part, count in (("train", 12), ("test", 3)):
        for name in ("cat", "bird"):
            for i in range(count):
                entries[f"{part}/{name}/{i:04}.jpg"] = encoded(np.full((32, 32, 3), 10 * i, np.uint8), "JPEG")
    put(folder, "cifar10_jpeg/cifar10-jpg.tar.gz", tar(entries))
    found = data.load("cifar10_jpeg")
    assert found.class_names == ("bird", "cat") and np.array_equal(found.splits.test, np.arange(24, 30))
    assert np.array_equal(found.labels, [0] * 12 + [1] * 12 + [0] * 3 + [1] * 3)
    assert np.abs(found.inputs[:12].mean(axis=(1, 2, 3)) - 10 * np.arange(12)).max() < 2
    assert "JPEG" in found.notes[0] and "JPEG" in data.info("cifar10_jpeg").title


# MATLAB ---------------------------------------------------------------------------------------------------


def test_svhn(folder):
    from scipy.io import savemat

    images = RNG.integers(0, 256, (150, 3, 32, 32), np.uint8)
    labels = np.arange(150) % 10
    for part, rows in (("train", slice(0, 100)), ("test", slice(100, 150))):
        raw = {"X": images[rows].transpose(2, 3, 1, 0), "y": np.where(labels[rows] == 0, 10, labels[rows])[:, None].astype(np.uint8)}
        (folder / "svhn").mkdir(exist_ok=True)
        savemat(folder / "svhn" / f"{part}_32x32.mat", raw, do_compression=part == "train")
    found = data.load("svhn")
    assert np.array_equal(found.inputs, images) and np.array_equal(found.labels, labels)
    assert np.array_equal(found.splits.test, np.arange(100, 150))


@pytest.mark.parametrize("case", ["garbage", "empty", "cut", "no y", "text", "version 7.3", "objects", "labels from 0", "other shape"])
def test_other_mat_files_are_refused(case, tmp_path):
    from scipy.io import savemat

    images, labels = np.zeros((32, 32, 3, 4), np.uint8), np.array([[1], [2], [3], [4]])
    good = {"X": images, "y": labels}
    path = tmp_path / "x.mat"
    contents = {
        "no y": {"X": images},
        "text": {"X": images, "y": "1234"},
        "objects": {"X": images, "y": np.array([1, "a", "b", 2], dtype=object)},
        "labels from 0": good | {"y": labels - 1},
        "other shape": good | {"X": images[:, :, :2]},
    }
    savemat(path, contents.get(case, good))
    if case == "cut":
        path.write_bytes(path.read_bytes()[:300])
    if case in ("garbage", "empty"):
        path.write_bytes(RNG.bytes(4000) if case == "garbage" else b"")
    if case == "version 7.3":
        path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(BadInput):
        svhn.read(path)


def test_damaged_mat_files_are_read_or_refused(tmp_path):
    from scipy.io import savemat

    path = tmp_path / "x.mat"
    savemat(path, {"X": np.zeros((4, 4, 3, 4), np.uint8), "y": np.ones((4, 1))}, do_compression=True)
    good, rng, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(300):
        content = bytearray(good)
        for _ in range(3):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content)
        try:
            read_mat(path, "X", "y")
        except BadInput:
            refused += 1
    assert 0 < refused < 300


# faces ----------------------------------------------------------------------------------------------------


def test_olivetti_faces_stand_upright(folder):
    from scipy.io import savemat

    upright = np.zeros((20, 64, 64), np.uint8)
    upright[:, :8] = 200  # a bright bar at the top
    upright[10:, :, :8] = 250
    (folder / "olivetti").mkdir()
    savemat(folder / "olivetti" / "olivettifaces.mat", {"faces": upright.transpose(0, 2, 1).reshape(20, -1).T.astype(np.float64)})
    found = data.load("olivetti", {"side": 64})
    assert np.array_equal(found.inputs[:, 0], upright)
    assert np.array_equal(found.labels, np.repeat([0, 1], 10)) and found.class_names == ("person 1", "person 2")
    for _, ids in found.splits.items():
        assert set(found.labels[ids]) == {0, 1}
    assert data.load("olivetti", {"side": 16}).inputs.shape == (20, 1, 16, 16)


def test_orl_faces_are_sorted_by_person_and_number(folder):
    entries = {"att_faces/README": b"x", "att_faces/.DS_Store": b"x"}
    for person in (10, 2):
        for shot in (10, *range(1, 10)):
            entries[f"att_faces/s{person}/{shot}.pgm"] = encoded(np.full((112, 92), 10 * shot + person, np.uint8), "PPM")
    put(folder, "orl_faces/att_faces.tar.gz", tar(entries))
    found = data.load("orl")
    assert found.class_names == ("person 2", "person 10")
    assert found.inputs[:, 0, 0, 0].tolist() == [10 * shot + person for person in (2, 10) for shot in range(1, 11)]


def test_lfw_keeps_people_with_enough_pictures(folder):
    entries = {}
    for person, shots in (("Ann_Lee", 12), ("Bo_Ek", 10), ("Cy_Few", 3)):
        for shot in range(1, shots + 1):
            picture = np.zeros((250, 250, 3), np.uint8)
            picture[65:185, 65:185] = [20 * shot, 0, 100]
            entries[f"lfw_funneled/{person}/{person}_{shot:04}.jpg"] = encoded(picture, "JPEG")
    entries["lfw_funneled/Ann_Lee/Bo_Ek_0001.jpg"] = b"x"
    put(folder, "lfw/lfw-funneled.tgz", tar(entries))
    found = data.load("lfw", {"pictures": 10})
    assert found.class_names == ("Ann Lee", "Bo Ek") and np.bincount(found.labels).tolist() == [12, 10]
    assert np.abs(found.inputs[:12, 0].mean(axis=(1, 2)) - 20 * np.arange(1, 13)).max() < 5
    assert np.abs(found.inputs[:, 2].astype(int) - 100).mean() < 5  # the dark margin was cropped
    with pytest.raises(BadInput, match="fewer than two people"):
        faces.read_lfw(folder / "lfw/lfw-funneled.tgz", 32, 11)


def test_a_broken_picture_in_an_archive_is_named(tmp_path):
    with pytest.raises(BadInput, match="broken picture"):
        faces.read_orl(put(tmp_path, "x.tar.gz", tar({"att_faces/s1/1.pgm": b"P5 9 9 255 short"})), 32)


# texts ----------------------------------------------------------------------------------------------------


def test_sms(folder):
    lines = [f"{'spam' if i % 4 == 0 else 'ham'}\tmessage {i}\twith a tab" for i in range(80)]
    put(folder, "sms_spam/sms.tsv", "\n".join(lines).encode() + b"\n")
    found = data.load("sms_spam", {"length": 8, "buckets": 300})
    assert found.texts[5] == "message 5\twith a tab" and found.inputs.shape == (80, 8) and found.vocabulary == 300
    assert np.array_equal(found.labels, np.arange(80) % 4 == 0) and found.class_names == ("ham", "spam")
    for bad in ("no label here\n", "eggs\ttext\n"):
        put(folder, "sms_spam/sms.tsv", bad.encode())
        with pytest.raises(BadInput):
            data.load("sms_spam")


def test_sst2_keeps_its_test_set(folder):
    for part, count in (("train", 60), ("dev", 20), ("test", 30)):
        put(folder, f"sst2/{part}.tsv", "".join(f"{part} sentence {i}\t{i % 2}\n" for i in range(count)).encode())
    found = data.load("sst2")
    assert np.array_equal(found.splits.test, np.arange(80, 110)) and found.texts[60] == "dev sentence 0"
    assert np.array_equal(found.labels[:60], np.arange(60) % 2)


def test_ag_news(folder):
    for part, count in (("train", 80), ("test", 20)):
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
            [i % 4 + 1, f'Title "{i}"', f"first\\second, {i}"] for i in range(count)
        )
        put(folder, f"ag_news/{part}.csv", out.getvalue().encode())
    found = data.load("ag_news")
    assert found.texts[1] == 'Title "1" first second, 1' and np.array_equal(found.labels[:80], np.arange(80) % 4)
    assert np.array_equal(found.splits.test, np.arange(80, 100))
    with pytest.raises(BadInput):
        texts.read_ag_news_part("5,a,b\n")


MESSAGE = """From: someone@example.org
Subject: Re: secret subject

In article <123@x> someone writes:
>an old thought
> > and an older one
My own answer, which says: yes.
She wrote:
| more of others
The end.
"""


def test_news_messages_lose_headers_and_quotes():
    assert texts.body(MESSAGE) == "My own answer, which says: yes.\nThe end."
    assert texts.body("no headers at all") == ""


def test_newsgroups_do_not_hang_on_the_packing(folder):
    entries = {}
    for part, count in (("test", 5), ("train", 20)):
        for group in ("sci.space", "alt.atheism"):
            for i in reversed(range(count)):
                entries[f"20news-bydate-{part}/{group}/{i}"] = f"A: b\n\n{part} {group} {i} \xe9".encode("latin-1")
    put(folder, "20newsgroups/20news-bydate.tar.gz", tar(entries | {"20news-bydate-train/../../evil": b"x"}))
    first = data.load("newsgroups")
    put(folder, "20newsgroups/20news-bydate.tar.gz", tar(dict(reversed(entries.items()))))
    again = data.load("newsgroups")
    assert first.hash == again.hash and first.texts == again.texts
    assert first.class_names == ("alt.atheism", "sci.space") and first.texts[0] == "train alt.atheism 0 é"
    assert np.array_equal(first.splits.test, np.arange(40, 50))


# tables ---------------------------------------------------------------------------------------------------

ROW = "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, United-States, <=50K"


def test_adult(folder):
    def rows(count, start):
        for i in range(start, start + count):
            cells = ROW.split(", ")
            cells[0], cells[9] = str(20 + i), "Female" if i % 3 else "Male"
            cells[1] = "?" if i % 10 == 0 else "Private" if i % 2 else "State-gov"
            cells[-1] = ">50K" if i % 4 == 0 else "<=50K"
            yield ", ".join(cells)

    put(folder, "adult/adult.data", ("\n".join(rows(60, 0)) + "\n\n").encode())
    put(folder, "adult/adult.test", ("|1x3 Cross validator\n" + ".\n".join(rows(20, 60)) + ".\n\n").encode())
    found = data.load("adult")
    assert np.array_equal(found.labels, np.arange(80) % 4 == 0) and np.array_equal(found.splits.test, np.arange(60, 80))
    assert found.feature_names == adult.COLUMNS and found.inputs[:, 0].tolist() == list(range(20, 100))
    assert found.categories[1] == ("Private", "State-gov", "(missing)") and found.inputs[[0, 1, 2], 1].tolist() == [2, 0, 1]
    assert found.groups["sex"].names == ("Female", "Male") and np.array_equal(found.groups["sex"].codes, np.arange(80) % 3 == 0)
    assert len(found.notes) == 1 and "workclass" in found.notes[0] and "8 missing values" in found.notes[0]
    for bad in ("1, 2, 3", ROW.replace("<=50K", "50")):
        with pytest.raises(BadInput):
            adult.read_rows(bad)


def test_location30(folder):
    lines = "".join(f'"{i % 3 + 1}",{i % 2},{(i + 1) % 2},0\n' for i in range(60))
    put(folder, "location30/dataset_location.tgz", tar({"bangkok": lines.encode(), "other": b"x"}))
    found = data.load("location30")
    assert np.array_equal(found.labels, np.arange(60) % 3) and found.inputs[:2].tolist() == [[0, 1, 0], [1, 0, 0]]
    for bad in ('"1",2,0\n', '"0",1,0\n', "x\n", '"1",0\n"2",0,1\n', ""):
        with pytest.raises(BadInput):
            location.read(put(folder, "bad.tgz", tar({"bangkok": bad.encode()})))


def test_members_are_chosen_by_their_whole_name_and_size(tmp_path):
    import re

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind in (
            ("a.txt", tarfile.REGTYPE),
            ("b.txt", tarfile.SYMTYPE),
            ("c.txt", tarfile.LNKTYPE),
            ("../a.txt", tarfile.REGTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"text"))
    path = put(tmp_path, "x.tar.gz", out.getvalue())
    assert [(named[0], raw) for named, raw in members(path, re.compile(r"[a-z]\.txt"), 4)] == [("a.txt", b"text")]
    with pytest.raises(BadInput, match="4 bytes"):
        list(members(path, re.compile(r"[a-z]\.txt"), 3))
