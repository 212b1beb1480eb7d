"""Texts as rows of token ids: words hashed into buckets, so no vocabulary is learned from the data and the same text is always the same row."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from itertools import islice

import numpy as np

from unlearn_core.params import Param

PADDING = 0
_TOKEN = re.compile(r"\w+|[^\w\s]")


def length_param(default: int) -> Param:
    """How many tokens of a text the model reads, as a parameter of a dataset."""
    return Param(
        "length", "int", default, "Words and signs of a text that the model reads; the rest is not seen.", 4, 2048, title="Words read"
    )


BUCKETS = Param(
    "buckets",
    "int",
    2**15,
    "Numbers that words are hashed to. Words that share a number look the same to the model.",
    2**8,
    2**20,
    title="Vocabulary size",
    advanced=True,
)


def tokens(text: str, most: int | None = None) -> list[str]:
    """Words and single signs of `text`, the first `most` of them, without regard to case."""
    return [found[0] for found in islice(_TOKEN.finditer(text.casefold()), most)]


def spans(text: str, most: int | None = None) -> list[tuple[int, int]]:
    """Where each of `tokens(text, most)` begins and ends in `text`, as a person reads it."""
    # One character may become several without its case.
    place = [at for at, character in enumerate(text) for _ in character.casefold()]
    return [(place[found.start()], place[found.end() - 1] + 1) for found in islice(_TOKEN.finditer(text.casefold()), most)]


def hashed(texts: Iterable[str], length: int, buckets: int) -> tuple[np.ndarray, int]:
    """Token ids [N, length] int32, and how many texts were longer than `length` tokens.

    An id is 1 + CRC-32(token in UTF-8) mod (buckets - 1); `PADDING` follows the last token. A text without any token is one unknown
    token, so that no row is all padding. Hashing trick: Weinberger et al. (2009), arXiv 0902.2206.
    """
    known: dict[str, int] = {}
    rows, cut = [], 0
    for text in texts:
        found = tokens(text, length + 1) or [""]
        cut += len(found) > length
        row = np.zeros(length, np.int32)
        for at, token in enumerate(found[:length]):
            if token not in known:
                known[token] = 1 + zlib.crc32(token.encode("utf-8", "surrogatepass")) % (buckets - 1)
            row[at] = known[token]
        rows.append(row)
    return np.stack(rows) if rows else np.zeros((0, length), np.int32), cut


def length_notes(cut: int, total: int, length: int) -> tuple[str, ...]:
    """What to tell people about texts that are longer than the model reads."""
    return (f"{cut:,} of {total:,} texts are longer than the {length} words that the model reads.",) if cut else ()
