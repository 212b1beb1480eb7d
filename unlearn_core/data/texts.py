"""Texts: SMS spam, film reviews, news and newsgroups."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.archives import members
from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo
from unlearn_core.data.dividing import SUBSET, divide
from unlearn_core.data.files import File, find
from unlearn_core.data.planting import plantable
from unlearn_core.data.tokens import BUCKETS, hashed, length_notes, length_param
from unlearn_core.data.traits import labelled
from unlearn_core.errors import BadInput

MODEL = "bag"

# texts, labels and names of the classes, and the first row of the official test set if there is one
Read = tuple[list[str], list[int], tuple[str, ...], int | None]


def dataset_of_texts(
    name: str,
    params: dict[str, Any],
    texts: Sequence[str],
    labels: np.ndarray,
    class_names: tuple[str, ...],
    first_test: int | None = None,
    **more: Any,
) -> Dataset:
    """A text dataset with its splits. params: split_seed, subset, length, buckets."""
    kept, splits = divide(labels, params, first_test)
    chosen = tuple(texts[i] for i in kept)
    inputs, longer = hashed(chosen, params["length"], params["buckets"])
    return Dataset(
        name=name,
        params=params,
        modality="text",
        inputs=inputs,
        labels=labels[kept],
        class_names=class_names,
        splits=splits,
        texts=chosen,
        vocabulary=params["buckets"],
        notes=(*more.pop("notes", ()), *length_notes(longer, len(chosen), params["length"])),
        **more,
    )


def _load(name: str, read: Callable[[], Read], params: dict[str, Any]) -> Dataset:
    texts, labels, class_names, first_test = read()
    return dataset_of_texts(name, params, texts, np.asarray(labels, np.int64), class_names, first_test)


def _lines(file: File) -> list[str]:
    return find(file).read_text(encoding="utf-8").splitlines()


def _table(lines: list[str], label_first: bool, names: tuple[str, ...], codes: dict[str, int], file: File) -> tuple[list[str], list[int]]:
    """Texts and labels of tab-separated lines without quotes."""
    texts, labels = [], []
    for line in filter(None, lines):
        label, tab, text = line.partition("\t") if label_first else line.rpartition("\t")[::-1]
        if not tab or label not in codes:
            raise BadInput("file", f"{file.path} has a line without one of the labels {', '.join(codes)}.", "Download it again.")
        texts.append(text)
        labels.append(codes[label])
    return texts, labels


SMS_FILE = File(
    "sms_spam/sms.tsv",
    0.5,
    (
        (
            "https://raw.githubusercontent.com/justmarkham/pycon-2016-tutorial/master/data/sms.tsv",
            "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
        ),
    ),
)


def read_sms(lines: list[str]) -> Read:
    """SMS Spam Collection: "ham" or "spam", a tab, the message."""
    names = ("ham", "spam")
    return *_table(lines, True, names, {name: i for i, name in enumerate(names)}, SMS_FILE), names, None


_SST2 = "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/master/data/SST2"
SST2_FILES = tuple(
    File(f"sst2/{part}.tsv", size, ((f"{_SST2}/{part}.tsv", sha256),))
    for part, size, sha256 in (
        ("train", 0.7, "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920"),
        ("dev", 0.1, "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359"),
        ("test", 0.2, "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7"),
    )
)


def read_sst2() -> Read:
    """Sentences with 0 or 1 behind a tab; the published development set joins the training part, the test set stays the test split."""
    codes = {"0": 0, "1": 1}
    train, dev, test = (_table(_lines(file), False, (), codes, file) for file in SST2_FILES)
    return train[0] + dev[0] + test[0], train[1] + dev[1] + test[1], ("negative", "positive"), len(train[0]) + len(dev[0])


_AG = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
AG_FILES = (
    File("ag_news/train.csv", 29.5, ((f"{_AG}/train.csv", "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e"),)),
    File("ag_news/test.csv", 1.9, ((f"{_AG}/test.csv", "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"),)),
)


def read_ag_news_part(content: str) -> tuple[list[str], list[int]]:
    """CSV without a header: class 1 to 4, title, description; a backslash stands for a broken line."""
    rows = list(csv.reader(io.StringIO(content)))
    if any(len(row) != 3 or row[0] not in ("1", "2", "3", "4") for row in rows):
        raise BadInput("file", "ag_news has a line that is not class, title, description.", "Download it again.")
    return [f"{title} {body}".replace("\\", " ") for _, title, body in rows], [int(label) - 1 for label, _, _ in rows]


def _read_ag_news() -> Read:
    train, test = (read_ag_news_part(find(file).read_text(encoding="utf-8")) for file in AG_FILES)
    return train[0] + test[0], train[1] + test[1], ("World", "Sports", "Business", "Sci/Tech"), len(train[0])


NEWSGROUPS_FILE = File(
    "20newsgroups/20news-bydate.tar.gz",
    14.4,
    (
        # The same messages in two packings; the second is also what scikit-learn fetches.
        ("http://qwone.com/~jason/20Newsgroups/20news-bydate.tar.gz", "af98cd37fc66ae8b367813b6dac794d8c679cd06bd03ee7f8cb4902d57dc2ca3"),
        ("https://ndownloader.figshare.com/files/5975967", "8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610"),
    ),
)
_MESSAGE = re.compile(r"20news-bydate-(train|test)/([a-z.-]+)/(\d+)")
_MESSAGE_BYTES = 1_000_000
# Lines that repeat what others wrote, and lines that announce them.
_QUOTES = re.compile(r"^(?:[ \t]*[>|:}].*|In article\b.*|.*\b(?:writes|wrote|says|said):[ \t]*)$\n?", re.MULTILINE)


def read_newsgroups(path: Path) -> Read:
    """Messages without their headers and without quoted lines, which name the group more than the text does."""
    found: dict[str, list[tuple[str, int, str]]] = {"train": [], "test": []}
    for named, raw in members(path, _MESSAGE, _MESSAGE_BYTES):
        found[named[1]].append((named[2], int(named[3]), body(raw.decode("latin-1"))))
    # Sorted, so that row numbers do not hang on the packing.
    train, test = sorted(found["train"]), sorted(found["test"])
    names = tuple(sorted({group for group, _, _ in train + test}))
    codes = {name: code for code, name in enumerate(names)}
    return [text for _, _, text in train + test], [codes[group] for group, _, _ in train + test], names, len(train)


def _load_topics(params: dict[str, Any]) -> Dataset:
    found = _load("newsgroups", lambda: read_newsgroups(find(NEWSGROUPS_FILE)), params)
    table, names = topics(found.class_names)
    said = "The model answers each part of a newsgroup's name with yes or no. Colours and splits go by the whole name, which it never sees."
    return labelled(found, "newsgroup_topics", table, names, said)


def topics(groups: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which parts each name such as "comp.sys.mac.hardware" has, [groups, parts] bool, and the parts of all of them, sorted."""
    parts = [name.split(".") for name in groups]
    names = tuple(sorted({part for named in parts for part in named}))
    return np.array([[name in named for name in names] for named in parts]), names


def body(message: str) -> str:
    """What the author of a news message wrote: without headers, quoted lines and the lines that announce them."""
    _, _, text = message.replace("\r\n", "\n").partition("\n\n")
    return _QUOTES.sub("", text).strip()


def _params(length: int) -> tuple:
    return (SUBSET, length_param(length), BUCKETS, SPLIT_SEED)


_INFOS = (
    DatasetInfo(
        name="sms_spam",
        title="SMS spam",
        modality="text",
        description="5,574 short messages: spam or not. Real messages, some of them personal.",
        default_model=MODEL,
        load=partial(_load, "sms_spam", lambda: read_sms(_lines(SMS_FILE))),
        order=50,
        params=_params(64),
        licence="CC BY 4.0",
        citation="Almeida, Gómez Hidalgo and Yamakami (2011), Contributions to the study of SMS spam filtering; UCI Machine Learning Repository.",
        files=(SMS_FILE,),
    ),
    DatasetInfo(
        name="sst2",
        title="Film reviews (SST-2)",
        modality="text",
        description="9,613 sentences of film reviews: for or against the film; 1,821 of them are the official test set.",
        default_model=MODEL,
        load=partial(_load, "sst2", read_sst2),
        order=51,
        params=_params(64),
        licence="none stated by the authors",
        citation="Socher et al. (2013), Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP.",
        files=SST2_FILES,
    ),
    DatasetInfo(
        name="ag_news",
        title="News (AG News)",
        modality="text",
        description="127,600 short news texts of four kinds; 7,600 of them are the official test set.",
        default_model=MODEL,
        load=partial(_load, "ag_news", _read_ag_news),
        order=52,
        params=_params(96),
        licence="for non-commercial use; see the AG's corpus page",
        citation="Zhang, Zhao and LeCun (2015), Character-level convolutional networks for text classification, arXiv 1509.01626.",
        files=AG_FILES,
    ),
    DatasetInfo(
        name="newsgroups",
        title="20 Newsgroups",
        modality="text",
        description="18,846 messages to twenty newsgroups, split by date, without headers and quotes; 7,532 are the official test set.",
        default_model=MODEL,
        load=partial(_load, "newsgroups", lambda: read_newsgroups(find(NEWSGROUPS_FILE))),
        order=53,
        params=_params(256),
        licence="none stated by the authors",
        citation="Lang (1995), NewsWeeder: learning to filter netnews, ICML; the by-date version of Rennie.",
        files=(NEWSGROUPS_FILE,),
    ),
    DatasetInfo(
        name="newsgroup_topics",
        title="Newsgroup topics (multi-label)",
        modality="text",
        description="The 18,846 newsgroup messages, labelled with every part of the group's name: comp, sys, mac and hardware, or rec and autos.",
        default_model=MODEL,
        load=_load_topics,
        order=54,
        params=_params(256),
        licence="none stated by the authors",
        citation="Lang (1995), NewsWeeder: learning to filter netnews, ICML; the by-date version of Rennie.",
        files=(NEWSGROUPS_FILE,),
        task="labels",
        model_params={"lr": 1.5e-2},  # with 4e-3 it learned hardly more than which labels are frequent
    ),
)
# Planting changes labels, and where there are several these are not what is learned.
DATASET = tuple(plantable(info) if info.task == "classes" else info for info in _INFOS)
