"""One's own model: a state dict in safetensors, read and checked without executing anything. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.importing.source import amount, available, short
from unlearn_core.data.own import Key
from unlearn_core.errors import BadInput
from unlearn_core.models.base import ModelInfo

FIELD = "weights"
MOST_BYTES = 2_000_000_000
MOST_HEADER = 10_000_000  # bytes
MOST_TENSORS = 20_000
MOST_DIMENSIONS = 8
PIECE = 1 << 24  # bytes looked at in one go
HOW = "Save a state dict with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
# Bytes of one number, and what numpy reads it as; of BF16, which numpy does not know, the bits.
KINDS = {
    "F64": (8, "<f8"), "F32": (4, "<f4"), "F16": (2, "<f2"), "BF16": (2, "<u2"),
    "I64": (8, "<i8"), "I32": (4, "<i4"), "I16": (2, "<i2"), "I8": (1, "i1"), "U8": (1, "u1"), "BOOL": (1, "u1"),
}  # fmt: skip
REAL = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class WeightsKey(Key):
    """A parameter that names kept weights by their key."""

    def _expected(self) -> str:
        return "the key of kept weights"


WEIGHTS = WeightsKey(
    FIELD, "text", "", "Weights of one's own that the original model has, by their key; empty: it is trained.", advanced=True, later=True
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file. kind: of KINDS; start, stop: its bytes, counted from the first one behind the header."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Weights:
    """A file that passed every check that needs no architecture. key: differs for each content."""

    title: str
    content: bytes | Path
    tensors: tuple[Tensor, ...]
    key: str

    @property
    def numbers(self) -> int:
        return sum(tensor.numbers for tensor in self.tensors)


def refuse_others(info: ModelInfo) -> None:
    """Raises BadInput for an architecture whose state is more than what a state dict of one's own can hold."""
    if info.train:
        raise BadInput(
            FIELD,
            f"{info.title} is trained in a way of its own and keeps what later deletions need in its state (checkpoints, noise), which weights "
            "made elsewhere do not have.",
            "Choose another architecture, or let it be trained here.",
        )


def read(content: bytes | Path, filename: str = "") -> Weights:
    """Check a safetensors file: header, places and sizes of all tensors, every number finite. Raises BadInput that says what is wrong.

    The format: https://huggingface.co/docs/safetensors (8 bytes with the length of a JSON header, the header, the numbers).
    """
    title = measure(content, filename)
    raw = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else np.memmap(content, np.uint8, "r")
    offset, header = _header(raw, title)
    tensors = _tensors(header, len(raw) - offset, title)
    key = _digest(raw, offset, tensors, title)
    return Weights(title.removesuffix(".safetensors"), content, tensors, key)


def measure(content: bytes | Path, filename: str = "") -> str:
    """The name of a file of weights for messages. Raises BadInput if there is none, or if it is empty or too large for this machine."""
    if isinstance(content, Path) and not content.is_file():
        raise BadInput(FIELD, f"there is no file {str(content)!r}.", "Give the path of a safetensors file.")
    title = short(Path(filename or (content.name if isinstance(content, Path) else "weights")).name)
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    most = min(MOST_BYTES, available() // 4)
    if size > most:
        raise BadInput(FIELD, f"{title} holds {amount(size)}; this machine can take in about {amount(most)} now.", "Give a smaller model.")
    if size == 0:
        raise BadInput(FIELD, f"{title} is empty.", HOW)
    return title


def _header(raw: np.ndarray, title: str) -> tuple[int, dict[str, Any]]:
    start = raw[:8].tobytes()
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length < 2 or length > len(raw) - 8 or raw[8] != ord("{"):
        if start[:2] == b"PK" or start[:1] == b"\x80":
            raise BadInput(FIELD, f"{title} is a pickle, as torch.save writes it, which could execute anything and is not opened.", HOW)
        raise BadInput(FIELD, f"{title} is no safetensors file, or a part of it is missing.", HOW)
    if length > MOST_HEADER:
        raise BadInput(FIELD, f"the header of {title} takes {amount(length)}; {amount(MOST_HEADER)} are the most.", HOW)
    try:
        found = json.loads(raw[8 : 8 + length].tobytes().decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
        _check_words(found)
    except (ValueError, RecursionError) as error:
        raise BadInput(FIELD, f"the header of {title} cannot be read ({short(error)}).", HOW) from None
    found.pop("__metadata__", None)
    return 8 + length, found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _check_words(header: dict[str, Any]) -> None:
    """Raises ValueError for names and remarks that the library which loads the file refuses."""
    about = header.get("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise ValueError("__metadata__ holds other things than texts")
    if any("\ud800" <= sign <= "\udfff" for text in (*header, *about, *about.values()) for sign in text):
        raise ValueError("a text is no Unicode")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensors(header: dict[str, Any], size: int, title: str) -> tuple[Tensor, ...]:
    if not header:
        raise BadInput(FIELD, f"{title} holds no tensors.", HOW)
    if len(header) > MOST_TENSORS:
        raise BadInput(FIELD, f"{title} names {len(header):,} tensors; {MOST_TENSORS:,} are the most.", HOW)
    found = sorted((_tensor(name, told) for name, told in header.items()), key=lambda tensor: (tensor.start, tensor.stop))
    end = 0
    for tensor in found:
        if tensor.start != end:
            raise BadInput(FIELD, f"the numbers of {short(tensor.name)} overlap others or leave a gap.", HOW)
        end = tensor.stop
    if end != size:
        raise BadInput(FIELD, f"{title} should hold {amount(end)} of numbers and holds {amount(size)}; it may be cut short.", HOW)
    return tuple(found)


def _tensor(name: str, told: Any) -> Tensor:
    whole = lambda values, most: (  # noqa: E731
        isinstance(values, list)
        and len(values) <= most
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MOST_BYTES for v in values)
    )
    if not isinstance(told, dict) or not whole(told.get("shape"), MOST_DIMENSIONS) or not whole(told.get("data_offsets"), 2):
        raise BadInput(FIELD, f"what the header says of {short(name)} is not readable.", HOW)
    kind, shape, place = told.get("dtype"), tuple(told["shape"]), told["data_offsets"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(FIELD, f"{short(name)} holds numbers of the kind {short(kind)}.", f"Known kinds: {', '.join(KINDS)}.")
    if math.prod(filter(None, shape)) > MOST_BYTES:  # beside a zero
        raise BadInput(FIELD, f"the shape {by(shape)} of {short(name)} is too large.", HOW)
    if len(place) != 2 or place[1] - place[0] != math.prod(shape) * KINDS[kind][0]:
        raise BadInput(FIELD, f"{short(name)} has another size than its shape {by(shape)} says.", HOW)
    return Tensor(name, kind, shape, *place)


def _digest(raw: np.ndarray, offset: int, tensors: tuple[Tensor, ...], title: str) -> str:
    """A key of names, shapes and numbers. Raises BadInput where a number is not finite."""
    digest = hashlib.sha256()
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        digest.update(json.dumps([tensor.name, tensor.kind, tensor.shape]).encode())
        data = raw[offset + tensor.start : offset + tensor.stop]
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE].tobytes()
            digest.update(piece)
            if tensor.kind in REAL and not _finite(np.frombuffer(piece, KINDS[tensor.kind][1]), tensor.kind):
                raise BadInput(
                    FIELD, f"{short(tensor.name)} in {title} holds numbers that are not finite.", "Give a model that was trained well."
                )
    return digest.hexdigest()[:16]


def _finite(values: np.ndarray, kind: str) -> bool:
    if kind == "BF16":  # all bits of the exponent: infinite or no number
        return not ((values & 0x7F80) == 0x7F80).any()
    return bool(np.isfinite(values).all())


def by(shape: tuple[int, ...]) -> str:
    """A shape for people."""
    return " × ".join(map(str, shape)) or "one number"
