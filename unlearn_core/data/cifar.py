"""CIFAR-10 and CIFAR-100 from their binary versions (the Python versions are pickles), and a lossy copy of CIFAR-10."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.archives import members
from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, Group
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.planting import plantable
from unlearn_core.errors import BadInput

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
MOST_BYTES = 200_000_000

CIFAR10 = File(
    "cifar10/cifar-10-binary.tar.gz",
    170.1,
    (
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
)
CIFAR100 = File(
    "cifar100/cifar-100-binary.tar.gz",
    168.5,
    (
        (
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
)
JPEG = File("cifar10_jpeg/cifar10-jpg.tar.gz", 19.4, (("", "4689b7eb1857f180d43724b6f3b0425427b38333295e4c68cd6860c6585c0c74"),))

# archive member of each part, in the order of the rows; the names of the classes; bytes of labels before each picture
LAYOUTS = {
    "cifar10": (
        r"cifar-10-batches-bin/(data_batch_[1-5]\.bin|test_batch\.bin|batches\.meta\.txt)",
        ("data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"),
        "test_batch.bin",
        ("batches.meta.txt",),
    ),
    "cifar100": (
        r"cifar-100-binary/(train\.bin|test\.bin|coarse_label_names\.txt|fine_label_names\.txt)",
        ("train.bin",),
        "test.bin",
        ("coarse_label_names.txt", "fine_label_names.txt"),
    ),
}


def read_binary(path: Path, name: str) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]], int]:
    """Pictures [N, 3, 32, 32] uint8, labels [N, k] (k = 2 for CIFAR-100: coarse, fine), the k lists of class names, first test row.

    Format (Krizhevsky): records of k label bytes and 3,072 pixel bytes, red, green and blue planes row by row.
    """
    pattern, train, test, meta = LAYOUTS[name]
    parts = {named[1]: raw for named, raw in members(path, re.compile(pattern), MOST_BYTES)}
    try:
        names = [tuple(parts[part].decode("ascii").split()) for part in meta]
        rows = [np.frombuffer(parts[part], np.uint8).reshape(-1, len(meta) + PIXELS) for part in (*train, test)]
        labels = np.concatenate([part[:, : len(meta)] for part in rows]).astype(np.int64)
        if not (labels.max(axis=0) < [len(found) for found in names]).all():
            raise ValueError
    except (KeyError, ValueError):
        raise BadInput("file", f"{path.name} does not hold the binary version of {name}.", "Download it again.") from None
    return np.concatenate([part[:, len(meta) :] for part in rows]).reshape(-1, *SHAPE), labels, names, len(labels) - len(rows[-1])


def read_jpeg(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], int]:
    """Pictures [N, 3, 32, 32] uint8, labels [N], class names and the first test row of train/<class>/*.jpg and test/<class>/*.jpg."""
    from PIL import Image

    found = [(*named.groups(), raw) for named, raw in members(path, re.compile(r"(train|test)/([a-z]+)/(\d+)\.jpg"), 100_000)]
    rows = sorted(found, key=lambda row: (row[0] == "test", *row[1:3]))
    names = tuple(sorted({group for _, group, _, _ in rows}))
    images = np.empty((len(rows), *SHAPE), np.uint8)
    for image, (_, _, _, raw) in zip(images, rows, strict=True):
        with Image.open(io.BytesIO(raw), formats=("JPEG",)) as picture:
            if picture.size != (32, 32) or picture.mode != "RGB":
                raise BadInput("file", f"{path.name} has a picture that is not 32×32 in colour.", "Download it again.")
            image[:] = np.asarray(picture).transpose(2, 0, 1)
    return images, np.array([names.index(group) for _, group, _, _ in rows]), names, sum(part == "train" for part, *_ in rows)


def _load(name: str, file: File, params: dict[str, Any]) -> Dataset:
    groups, notes = {}, ()
    if name == "cifar10_jpeg":
        images, labels, class_names, first_test = read_jpeg(find(file))
        notes = ("This copy was saved as JPEG: pixels differ from CIFAR-10, so figures on it are not figures on CIFAR-10.",)
    else:
        images, found, names, first_test = read_binary(find(file), name)
        labels, class_names = found[:, -1], names[-1]
        groups = {"superclass": Group(found[:, 0], names[0])} if len(names) == 2 else {}
    kept, splits = divide(labels, params, first_test)
    return Dataset(
        name=name,
        params=params,
        modality="image",
        inputs=images[kept] if len(kept) < len(images) else images,
        labels=labels[kept],
        class_names=class_names,
        splits=splits,
        groups={key: Group(group.codes[kept], group.names) for key, group in groups.items()},
        notes=notes,
    )


_CITATION = "Krizhevsky (2009), Learning multiple layers of features from tiny images."


def _info(name: str, title: str, file: File, order: int, description: str) -> DatasetInfo:
    return plantable(
        DatasetInfo(
            name=name,
            title=title,
            modality="image",
            description=description,
            default_model="cnn",
            load=partial(_load, name, file),
            order=order,
            params=(SUBSET, SPLIT_SEED),
            licence="none stated by the authors",
            citation=_CITATION,
            files=(file,),
        )
    )


DATASET = (
    _info("cifar10", "CIFAR-10", CIFAR10, 32, "60,000 colour photographs, 32×32 pixels, ten classes; 10,000 are the official test set."),
    _info("cifar10_jpeg", "CIFAR-10 (JPEG copy)", JPEG, 33, "CIFAR-10 saved as JPEG: complete, but lossy. Only from a file of your own."),
    _info("cifar100", "CIFAR-100", CIFAR100, 34, "60,000 colour photographs, 32×32 pixels, 100 classes; 10,000 are the official test set."),
)
