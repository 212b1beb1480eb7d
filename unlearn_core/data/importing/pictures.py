"""Pictures in class folders, in a zip file or on disk: <class>/<picture>, or train/<class>/<picture> and test/<class>/<picture>."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from unlearn_core.data.importing.imported import Imported, Options, code_labels
from unlearn_core.data.importing.source import Source, Tell, amount, check_room, short
from unlearn_core.data.importing.zipped import BROKEN, MOST_MEMBERS, open_zip
from unlearn_core.errors import BadInput

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
TRAIN, TEST = ("train", "training", "val", "valid", "validation"), ("test", "testing")
MOST_PIXELS = 40_000_000  # of one picture
MOST_IN_ALL = 4_000_000_000  # pixels of all pictures: some minutes of work
MOST_FILE = 50_000_000  # bytes of one picture
KEPT_SIDE = 96  # pictures of one size up to this stay as they are
USUAL_SIDE = 64
SIDES = (8, 512)
LOOKING = 0.3  # share of the time that looking at sizes takes, before the pictures are decoded
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError,
               MemoryError, EOFError, struct.error)  # fmt: skip

Entry = tuple[tuple[str, ...], Callable[[], bytes]]


def read_zip(source: Source, options: Options, tell: Tell) -> Imported:
    """The pictures in a zip file. Raises BadInput."""
    with source.open() as content:
        archive, files = open_zip(source, content, 1)
        with archive:
            entries = []
            for member in files:
                parts = PurePosixPath(member.filename).parts
                if _picture(parts):
                    _check_size(member.file_size, parts)
                    entries.append((parts, partial(_unpacked, archive, member)))
            return _imported(entries, Path(source.name).stem, len(files) - len(entries), options, tell)


def read_folder(folder: Path, options: Options, tell: Tell) -> Imported:
    """The pictures below `folder`; links are not followed. Raises BadInput."""
    tell("Looking for pictures", 0.0)
    entries, others = [], 0
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            parts = path.relative_to(folder).parts
            if path.is_symlink() or not _picture(parts):
                others += 1
                continue
            _check_size(path.stat().st_size, parts)
            entries.append((parts, path.read_bytes))
            if len(entries) > MOST_MEMBERS:
                raise BadInput("file", f"the folder holds more than {MOST_MEMBERS:,} pictures.", "Give fewer.")
    return _imported(entries, folder.resolve().name, others, options, tell)


def _picture(parts: tuple[str, ...]) -> bool:
    name = parts[-1].lower()
    if name.endswith(ARCHIVES):
        raise BadInput("file", f"{short('/'.join(parts))!r} is an archive within the data.", "Unpack it first.")
    return name.endswith(ENDINGS) and not name.startswith(".") and "__MACOSX" not in parts


def _unpacked(archive: ZipFile, member: ZipInfo) -> bytes:
    try:
        return archive.read(member)
    except BROKEN:
        raise _broken(member.filename) from None


def _check_size(size: int, parts: tuple[str, ...]) -> None:
    if size > MOST_FILE:
        raise BadInput("pictures", f"{short('/'.join(parts))!r} has {amount(size)}.", f"Give pictures of at most {amount(MOST_FILE)}.")


def _imported(entries: list[Entry], title: str, others: int, options: Options, tell: Tell) -> Imported:
    placed = _placed(entries)
    if options.side and not SIDES[0] <= options.side <= SIDES[1]:
        raise BadInput("side", f"{options.side} pixels are too few or too many.", f"Give {SIDES[0]} to {SIDES[1]}.")
    labels, class_names = code_labels([label for _, label, _, _ in placed], "folders")
    sizes, grey, total = set(), True, 0
    for at, (_, label, name, load) in enumerate(placed):
        tell(f"Looking at picture {at + 1:,} of {len(placed):,}", LOOKING * at / len(placed))
        with _opened(load(), f"{label}/{name}") as picture:
            sizes.add(_upright_size(picture))
            grey &= picture.mode in ("1", "L", "LA", "I", "I;16", "I;16B")
            total += picture.width * picture.height
        if total > MOST_IN_ALL:
            raise BadInput("pictures", f"they have more than {MOST_IN_ALL // 10**6:,} million pixels in all.", "Scale them down first.")
    width, height = _size(sizes, options.side)
    channels = 1 if grey else 3
    check_room(len(placed) * channels * height * width, "all pictures together", 2)
    images = np.empty((len(placed), channels, height, width), np.uint8)
    for at, (image, (_, label, name, load)) in enumerate(zip(images, placed, strict=True)):
        tell(f"Reading picture {at + 1:,} of {len(placed):,}", LOOKING + (1 - LOOKING) * at / len(placed))
        image[:] = _pixels(load(), f"{label}/{name}", "L" if grey else "RGB", (width, height))
    left_out = "1 file that is no picture was left out." if others == 1 else f"{others:,} files that are no pictures were left out."
    notes = [left_out] * bool(others)
    if sizes != {(width, height)}:
        notes.append(
            f"Pictures of {len(sizes):,} size{'s' * (len(sizes) > 1)} were cropped to the middle and scaled to {width}×{height} pixels."
        )
    first_test = next((row for row, (test, _, _, _) in enumerate(placed) if test), None)
    return Imported(title, "image", labels, class_names, inputs=images, first_test=first_test, notes=tuple(notes))


def _size(found: set[tuple[int, int]], wanted: int) -> tuple[int, int]:
    """Width and height that all pictures get."""
    if wanted:
        return wanted, wanted
    first = next(iter(found))
    return first if len(found) == 1 and max(first) <= KEPT_SIDE else (USUAL_SIDE, USUAL_SIDE)


def _placed(entries: list[Entry]) -> list[tuple[bool, str, str, Callable[[], bytes]]]:
    """(in the test part?, class, file name, loader) of each picture, training part first, in a fixed order."""
    layout = "Put every picture into a folder with the name of its class."
    if not entries:
        raise BadInput("pictures", "there are no pictures.", f"{layout} Known: {', '.join(ENDINGS)}.")
    while all(len(parts) > 2 for parts, _ in entries) and len({parts[0] for parts, _ in entries}) == 1:
        entries = [(parts[1:], load) for parts, load in entries]  # a folder around everything
    tops = {parts[0].lower() for parts, _ in entries}
    parted = all(len(parts) == 3 for parts, _ in entries) and tops <= {*TRAIN, *TEST}
    rows = []
    for parts, load in entries:
        inner = parts[1:] if parted else parts
        if len(inner) != 2:
            why = "lies in no class folder" if len(inner) < 2 else "lies deeper than a class folder"
            raise BadInput("pictures", f"{short('/'.join(parts))!r} {why}.", layout)
        rows.append((parted and parts[0].lower() in TEST, *inner, load))
    if all(test for test, *_ in rows):
        rows = [(False, *rest) for _, *rest in rows]
    return sorted(rows, key=lambda row: row[:3])


def _opened(raw: bytes, name: str) -> Any:
    """The picture, not yet decoded, with its size checked. Raises BadInput."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warning of large pictures; the limit below is lower
            picture = Image.open(io.BytesIO(raw), formats=FORMATS)
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        if isinstance(error, Image.DecompressionBombError):
            raise _too_large(name) from None
        raise _broken(name) from None
    if picture.width * picture.height > MOST_PIXELS:
        raise _too_large(name)
    return picture


def _too_large(name: str) -> BadInput:
    return BadInput("pictures", f"{short(name)!r} has more than {MOST_PIXELS // 10**6} million pixels.", "Scale it down first.")


def _broken(name: str) -> BadInput:
    return BadInput("pictures", f"{short(name)!r} is broken or of an unknown format.", "Save it again as PNG or JPEG, or leave it out.")


def _upright_size(picture: Any) -> tuple[int, int]:
    """(width, height) as a person sees it: cameras store a turned picture with a remark."""
    try:
        turned = picture.getexif().get(0x0112) in (5, 6, 7, 8)
    except _UNREADABLE:
        turned = False
    return picture.size[::-1] if turned else picture.size


def _pixels(raw: bytes, name: str, mode: str, size: tuple[int, int]) -> np.ndarray:
    """[channels, height, width] uint8 of one picture: upright, without transparency (on white), cropped to the middle and scaled."""
    from PIL import Image, ImageOps

    with _opened(raw, name) as picture:
        try:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if upright.mode in ("I", "I;16", "I;16B"):  # 16 bits of grey
                upright = Image.fromarray((np.asarray(upright).astype(np.float64) / 257).clip(0, 255).astype(np.uint8))
            elif "A" in upright.mode or "transparency" in upright.info:
                layer = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            plain = upright.convert(mode)
            if plain.size != size:
                plain = ImageOps.fit(plain, size, Image.Resampling.LANCZOS)
            return np.atleast_3d(np.asarray(plain)).transpose(2, 0, 1)
        except _UNREADABLE:
            raise _broken(name) from None
