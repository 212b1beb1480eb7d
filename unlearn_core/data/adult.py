"""Adult: who earns more than 50,000 dollars a year; with protected attributes."""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, Group
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.planting import BIASED, plantable
from unlearn_core.data.tables import Column, encode
from unlearn_core.errors import BadInput

_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
FILES = (
    File("adult/adult.data", 4.0, ((f"{_UCI}/adult.data", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),)),
    File("adult/adult.test", 2.0, ((f"{_UCI}/adult.test", "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"),)),
)

NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race", "sex",
    "capital-gain", "capital-loss", "hours-per-week", "native-country",
)  # fmt: skip
PROTECTED = ("sex", "race")
CLASSES = ("<=50K", ">50K")


def read_rows(content: str) -> list[list[str]]:
    """Rows of 15 fields; the test file begins with a remark and puts a full stop behind the class."""
    rows = [line.rstrip(".").split(", ") for line in content.splitlines() if line and not line.startswith("|")]
    if any(len(row) != len(COLUMNS) + 1 or row[-1] not in CLASSES for row in rows):
        raise BadInput("file", "adult has a line that is not 14 attributes and a class.", "Download it again.")
    return rows


def column(name: str, values: list[str]) -> Column:
    """Numbers, or categories in alphabetic order with "?" for a missing one."""
    if name in NUMBERS:
        return Column(name, np.array(values, np.float64))
    categories = tuple(sorted(set(values) - {"?"}))
    codes = {category: code for code, category in enumerate(categories)}
    return Column(name, np.array([codes.get(value, -1) for value in values]), categories)


def _load(params: dict[str, Any]) -> Dataset:
    train, test = (read_rows(find(file).read_text(encoding="utf-8")) for file in FILES)
    fields = list(zip(*train, *test, strict=True))
    labels = np.array([CLASSES.index(value) for value in fields[-1]], np.int64)
    kept, splits = divide(labels, params, len(train))
    whole = {name: column(name, values) for name, values in zip(COLUMNS, fields, strict=False)}
    columns = [Column(name, whole[name].values[kept], whole[name].categories) for name in COLUMNS]
    encoded = encode(columns, splits.train)
    return Dataset(
        name="adult",
        params=params,
        modality="tabular",
        inputs=encoded.inputs,
        labels=labels[kept],
        class_names=CLASSES,
        splits=splits,
        feature_names=encoded.feature_names,
        categories=encoded.categories,
        groups={name: Group(whole[name].values[kept].astype(np.int64), whole[name].categories) for name in PROTECTED},
        notes=encoded.notes,
    )


DATASET = plantable(
    DatasetInfo(
        name="adult",
        title="Adult (census income)",
        modality="tabular",
        description=(
            "48,842 people of the 1994 census with 14 attributes: more or less than 50,000 dollars a year. Sex and race are protected "
            "attributes; 16,281 rows are the official test set."
        ),
        default_model="mlp",
        load=_load,
        order=40,
        params=(SUBSET, SPLIT_SEED),
        licence="CC BY 4.0",
        citation="Becker and Kohavi (1996), Adult, UCI Machine Learning Repository.",
        files=FILES,
    ),
    BIASED,
)
