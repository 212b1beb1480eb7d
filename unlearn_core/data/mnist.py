"""MNIST and Fashion-MNIST from their original idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.planting import plantable
from unlearn_core.errors import BadInput

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MOST_BYTES = 10**9
DIGITS = tuple(str(c) for c in range(10))


def read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped idx file of bytes: magic 0, 0, 8, number of axes; the big-endian int32 length of each axis; then the bytes.

    Format: LeCun, Cortes and Burges, "The MNIST database". Raises BadInput if the file is none or holds another number of bytes.
    """
    try:
        with gzip.open(path, "rb") as content:
            head = content.read(4)
            if len(head) != 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise ValueError
            shape = np.frombuffer(content.read(4 * head[3]), ">i4", head[3]).tolist()
            count = math.prod(shape)
            if min(shape) < 0 or count > MOST_BYTES:
                raise ValueError
            raw = content.read(count + 1)
            if len(raw) != count:
                raise ValueError
    except (OSError, EOFError, ValueError, zlib.error):
        raise BadInput("file", f"{path.name} is not a gzipped idx file of bytes.", "Download it again.") from None
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _load(name: str, class_names: tuple[str, ...], files: tuple[File, ...], params: dict[str, Any]) -> Dataset:
    train, train_labels, test, test_labels = (read_idx(find(file)) for file in files)
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    kept, splits = divide(labels, params, len(train))
    return Dataset(
        name=name,
        params=params,
        modality="image",
        inputs=np.concatenate([train, test])[kept][:, None],
        labels=labels[kept],
        class_names=class_names,
        splits=splits,
    )


def _files(folder: str, bases: tuple[str, ...], known: dict[str, tuple[float, str]]) -> tuple[File, ...]:
    return tuple(
        File(f"{folder}/{name}.gz", size, tuple((f"{base}/{name}.gz", sha256) for base in bases)) for name, (size, sha256) in known.items()
    )


MNIST_FILES = _files(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    {
        "train-images-idx3-ubyte": (9.9, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte": (0.03, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte": (1.6, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte": (0.005, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
)

FASHION_FILES = _files(
    "fashion_mnist",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    {
        "train-images-idx3-ubyte": (26.4, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte": (0.03, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte": (4.4, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte": (0.005, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    },
)

DATASET = (
    plantable(
        DatasetInfo(
            name="fashion_mnist",
            title="Fashion-MNIST",
            modality="image",
            description="70,000 grey pictures of clothes, 28×28 pixels, ten classes; 10,000 of them are the official test set.",
            default_model="cnn",
            load=partial(_load, "fashion_mnist", FASHION, FASHION_FILES),
            order=30,
            params=(SUBSET, SPLIT_SEED),
            licence="MIT",
            citation="Xiao, Rasul and Vollgraf (2017), Fashion-MNIST, arXiv 1708.07747.",
            files=FASHION_FILES,
        )
    ),
    plantable(
        DatasetInfo(
            name="mnist",
            title="MNIST",
            modality="image",
            description="70,000 grey handwritten digits, 28×28 pixels; 10,000 of them are the official test set.",
            default_model="cnn",
            load=partial(_load, "mnist", DIGITS, MNIST_FILES),
            order=31,
            params=(SUBSET, SPLIT_SEED),
            licence="CC BY-SA 3.0",
            citation="LeCun, Cortes and Burges, The MNIST database of handwritten digits; LeCun, Bottou, Bengio and Haffner (1998).",
            files=MNIST_FILES,
        )
    ),
)
