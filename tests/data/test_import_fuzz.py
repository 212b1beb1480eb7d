"""Every reader on damaged files: what comes out is a checked import or a BadInput, and never anything else."""

import numpy as np
import pytest
from data.test_importing import LABELS, TABLE, csv, folders, npy, npz, packed, parquet, picture

from unlearn_core.data import importing, own
from unlearn_core.data.importing import Imported, Options
from unlearn_core.errors import BadInput

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 255, (24, 12, 12, 3), np.uint8)


def pictures(form: str, ending: str) -> bytes:
    return packed({f"{'ab'[i % 2]}/{i}.{ending}": picture(pixels, form) for i, pixels in enumerate(NOISE)})


X = RNG.normal(size=(60, 4))
SEEDS = {
    "csv": (csv(), "t.csv", {}),
    "tsv": (csv(sep="\t"), "t.tsv", {}),
    "parquet": (parquet(), "t.parquet", {}),
    "jsonl": (TABLE.to_json(orient="records", lines=True).encode(), "t.jsonl", {"target": "label"}),
    "texts": (TABLE.to_json(orient="records", lines=True).encode(), "t.jsonl", {"target": "label", "text": "record"}),
    "npz": (npz(x=X, y=LABELS), "t.npz", {}),
    "npz pictures": (npz(x=NOISE, y=np.arange(24) % 2), "t.npz", {}),
    "npy": (npy(np.column_stack([X, LABELS])), "t.npy", {}),
    "png": (packed(folders()), "p.zip", {}),
    "jpeg": (pictures("JPEG", "jpg"), "p.zip", {}),
    "gif": (pictures("GIF", "gif"), "p.zip", {}),
    "webp": (pictures("WEBP", "webp"), "p.zip", {}),
    "bmp": (pictures("BMP", "bmp"), "p.zip", {}),
    "ppm": (pictures("PPM", "ppm"), "p.zip", {}),
}
ROUNDS = 120


def spoiled(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, with bytes changed, with a stretch repeated, removed or overwritten."""
    data = bytearray(content)
    way = rng.integers(5)
    a, b = sorted(rng.integers(0, len(data), 2).tolist())
    if way == 0:
        return bytes(data[:b])
    if way == 1:
        return bytes(data[:a] + data[a:b][:200] * 3 + data[a:])
    if way == 2:
        return bytes(data[:a] + data[min(b, a + 50) :])
    if way == 3:
        data[a : a + 20] = rng.bytes(20)
        return bytes(data)
    for _ in range(int(rng.integers(1, 8))):
        data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)


def check(found: Imported) -> None:
    assert 2 <= len(found.class_names) == len(set(found.class_names)) and set(found.labels) == set(range(len(found.class_names)))
    params = {"subset": "auto", "split_seed": 0, "length": 16, "buckets": 256}
    dataset = own.dataset(found, params, own.NAMES[found.modality])
    assert len(dataset) == len(found) == len(dataset.inputs) and np.isfinite(dataset.values()).all()
    assert dataset.hash and dataset.words(0) is not None if found.modality != "image" else True


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_files_give_an_import_or_a_bad_input(kind):
    content, name, options = SEEDS[kind]
    check(importing.read(content, name, Options(**options)))
    rng, refused = np.random.default_rng(list(kind.encode())), 0
    for _ in range(ROUNDS):
        raw = spoiled(content, rng)
        try:
            check(importing.read(raw, name, Options(**options, drop_small=True)))
            importing.preview(raw, name)
        except BadInput as error:
            refused += 1
            assert len(str(error)) < 400 and str(error).isprintable() and error.field and error.fix
    assert refused > ROUNDS / 20


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "ppm"])
def test_damaged_pictures_in_whole_archives(kind):
    """The archive's own checksum hides what a damaged picture does to its decoder; here it is right."""
    form = {"jpeg": "JPEG"}.get(kind, kind.upper())
    seeds = [picture(pixels, form) for pixels in NOISE[:3]]
    good = {f"{'ab'[i % 2]}/{i}.{kind}": picture(pixels, form) for i, pixels in enumerate(NOISE)}
    rng, refused = np.random.default_rng(list(kind.encode())), 0
    for at in range(ROUNDS):
        try:
            check(importing.read(packed(good | {f"a/x.{kind}": spoiled(seeds[at % 3], rng)}), "p.zip"))
        except BadInput as error:
            refused += 1
            assert error.field in ("pictures", "file") and str(error).isprintable()
    assert refused


def test_random_bytes_under_every_name():
    rng = np.random.default_rng(5)
    for _ in range(300):
        raw = rng.bytes(int(rng.integers(1, 400)))
        head = [b"", b"PK\x03\x04", b"PAR1", b"\x93NUMPY\x01\x00", b"\xef\xbb\xbf", b"a,b\n", b'{"'][rng.integers(7)]
        with pytest.raises(BadInput):
            importing.read(head + raw, f"t{importing.ENDINGS[rng.integers(len(importing.ENDINGS))]}")
