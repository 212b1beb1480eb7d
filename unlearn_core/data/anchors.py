"""What each class looks like in words, and those words as vectors: the stakes of StructGuard (methods/stakes.py).

`assets/anchors/<dataset>.json` maps every class name to short attributes. Embeddings of a pretrained text encoder are used instead as soon as
`assets/anchors/<dataset>.npz` exists, with the arrays `embeddings` [C, k], `classes` [C] (names) and `encoder` (its name for people); `embed`
makes that file, and needs the package sentence-transformers, which nothing else here does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from unlearn_core.errors import BadInput

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "anchors"
DIMENSIONS = 64
WITHOUT_ENCODER = "TF-IDF of the attribute texts (no pretrained text encoder here)"
WITHOUT_TEXTS = "TF-IDF of the class names (this dataset has no attribute texts)"


@dataclass(frozen=True)
class TextAnchors:
    """embeddings: [C, k] float32, one unit vector a class. encoder: what made them, for people."""

    embeddings: np.ndarray
    encoder: str


def text_anchors(dataset: str, class_names: tuple[str, ...], folder: Path = FOLDER) -> TextAnchors:
    """One vector for what the words say about each class; the same words always give the same vectors.

    A class is one sentence, its attributes joined by "; " (Hong et al., arXiv 2603.12915). Where the dataset has no words for all of its
    classes, the class names stand in.
    """
    stored = folder / f"{dataset}.npz"
    if stored.exists():
        found = _stored(stored, class_names)
        if found:
            return found
    attributes, known = _attributes(dataset, class_names, folder)
    return TextAnchors(_tfidf(attributes), WITHOUT_ENCODER if known else WITHOUT_TEXTS)


def embed(dataset: str, class_names: tuple[str, ...], encoder: str, folder: Path = FOLDER) -> Path:
    """Write the embeddings that the pretrained text `encoder` (a name or folder) gives the classes of `dataset`, and return the file.

    Raises BadInput where the package or the encoder is not there.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError:
        fix = "Install the package sentence-transformers, or go on with the anchors made from word counts."
        raise BadInput("encoder", "no text encoder is installed.", fix) from None
    try:
        model = SentenceTransformer(encoder)
    except (OSError, ValueError) as error:
        raise BadInput("encoder", f"{encoder!r} cannot be loaded: {error}.", "Give the name or the folder of a sentence encoder.") from None
    sentences = ["; ".join(texts) for texts in _attributes(dataset, class_names, folder)[0]]
    found = _unit(np.asarray(model.encode(sentences), dtype=np.float32))
    path = folder / f"{dataset}.npz"
    np.savez(path, embeddings=found, classes=np.array(class_names), encoder=np.array(encoder))
    return path


def _attributes(dataset: str, class_names: tuple[str, ...], folder: Path) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """The texts of each class, and whether they are attributes; otherwise the class names stand in."""
    texts = folder / f"{dataset}.json"
    words = json.loads(texts.read_text(encoding="utf-8")) if texts.exists() else {}
    known = all(words.get(name) for name in class_names)
    return tuple(tuple(words[name]) if known else (name,) for name in class_names), known


def _stored(path: Path, class_names: tuple[str, ...]) -> TextAnchors | None:
    with np.load(path, allow_pickle=False) as arrays:
        rows = {str(name): row for name, row in zip(arrays["classes"], arrays["embeddings"], strict=True)}
        encoder = str(arrays["encoder"])
    if not set(class_names) <= rows.keys():
        return None
    return TextAnchors(_unit(np.stack([rows[name] for name in class_names])), encoder)


@cache
def _tfidf(attributes: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """[C, k] from word and character n-grams, in the k leading directions of all single attributes (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    single = [text for texts in attributes for text in texts]
    sentences = ["; ".join(texts) for texts in attributes]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    counts = make_union(words, letters).fit(single)
    reduced = TruncatedSVD(min(DIMENSIONS, len(single)), n_iter=20, random_state=0).fit(counts.transform(single))
    return _unit(reduced.transform(counts.transform(sentences)))


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
