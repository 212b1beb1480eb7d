"""Faces: one class for each person, so that one person's data can be forgotten."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unlearn_core.data.archives import members
from unlearn_core.data.base import SPLIT_SEED, Dataset, DatasetInfo, stratified_splits
from unlearn_core.data.files import File, find
from unlearn_core.data.matlab import read_mat
from unlearn_core.data.planting import PERSON, plantable
from unlearn_core.errors import BadInput
from unlearn_core.params import Param

# People have ten pictures each here, so the usual shares would leave splits without most of them.
SHARES = {"train": 0.5, "tuning": 0.1, "heldout": 0.1, "test": 0.2, "population": 0.1}

ORL = File("orl_faces/att_faces.tar.gz", 3.7, (("", "2e4438041cb288e934b5e4ec6a470c6ef84c11ccb0831c8f0496742ff966f36f"),))
OLIVETTI = File(
    "olivetti/olivettifaces.mat",
    4.1,
    (("https://ndownloader.figshare.com/files/5976027", "b612fb967f2dc77c9c62d3e1266e0c73d5fca46a4b8906c18e454d41af987794"),),
)
LFW = File(
    "lfw/lfw-funneled.tgz",
    243.0,
    (("https://ndownloader.figshare.com/files/5976015", "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a"),),
)

SIDE = Param("side", "int", 32, "Height and width of the pictures in pixels, after scaling.", 16, 112)
PICTURES = Param("pictures", "int", 20, "People with fewer pictures than this are left out.", 10, 200, title="Pictures per person")
PICTURE_BYTES = 1_000_000
MIDDLE = (65, 65, 185, 185)  # left, upper, right, lower: the face in the aligned pictures of 250×250 pixels


def read_orl(path: Path, side: int) -> tuple[np.ndarray, list[str]]:
    """Grey pictures [N, 1, side, side] uint8 and persons of att_faces/s<person>/<picture>.pgm, by person, then picture."""
    found = sorted(
        (int(named[1]), int(named[2]), raw) for named, raw in members(path, re.compile(r"att_faces/s(\d+)/(\d+)\.pgm"), PICTURE_BYTES)
    )
    return _pictures((raw for _, _, raw in found), ("PPM",), side, "L", path), [f"person {person}" for person, _, _ in found]


def read_lfw(path: Path, side: int, least: int) -> tuple[np.ndarray, list[str]]:
    """Colour pictures [N, 3, side, side] uint8 and names of lfw_funneled/<name>/<name>_<picture>.jpg, of people with `least` or more."""
    pattern = re.compile(r"lfw_funneled/([^/]+)/\1_(\d+)\.jpg")
    found = [(named[1], int(named[2]), raw) for named, raw in members(path, pattern, PICTURE_BYTES)]
    people, counts = np.unique([person for person, _, _ in found], return_counts=True)
    known = set(people[counts >= least].tolist())
    if len(known) < 2:
        raise BadInput("pictures", f"fewer than two people have {least} pictures.", "Give a smaller number.")
    chosen = sorted(row for row in found if row[0] in known)
    images = _pictures((raw for _, _, raw in chosen), ("JPEG",), side, "RGB", path, MIDDLE)
    return images, [person.replace("_", " ") for person, _, _ in chosen]


def read_olivetti(path: Path, side: int) -> tuple[np.ndarray, list[str]]:
    """Grey pictures [N, 1, side, side] uint8 and persons of `faces` [64·64, N]: columns of pixels, ten pictures of each person in a row."""
    from PIL import Image

    faces = read_mat(path, "faces")["faces"]
    if faces.shape[0] != 64 * 64 or faces.shape[1] % 10:
        raise BadInput("file", f"{path.name} does not hold the Olivetti faces.", "Download it again.")
    whole = np.clip(np.round(faces.T), 0, 255).astype(np.uint8).reshape(-1, 64, 64).transpose(0, 2, 1)
    scaled = [np.asarray(Image.fromarray(np.ascontiguousarray(face)).resize((side, side), Image.Resampling.LANCZOS)) for face in whole]
    return np.stack(scaled)[:, None], [f"person {i // 10 + 1}" for i in range(len(whole))]


def _pictures(raws: Any, formats: tuple[str, ...], side: int, mode: str, path: Path, box: tuple | None = None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    found = []
    try:
        for raw in raws:
            with Image.open(io.BytesIO(raw), formats=formats) as picture:
                scaled = picture.convert(mode).resize((side, side), Image.Resampling.LANCZOS, box)
            found.append(np.atleast_3d(np.asarray(scaled)).transpose(2, 0, 1))
        return np.stack(found)
    except (UnidentifiedImageError, OSError, ValueError):
        raise BadInput("file", f"{path.name} has a broken picture or none.", "Download it again.") from None


def _load(name: str, params: dict[str, Any]) -> Dataset:
    side = params["side"]
    if name == "lfw":
        images, people = read_lfw(find(LFW), side, params["pictures"])
    elif name == "orl":
        images, people = read_orl(find(ORL), side)
    else:
        images, people = read_olivetti(find(OLIVETTI), side)
    names = tuple(dict.fromkeys(people))
    labels = np.array([names.index(person) for person in people], np.int64)
    return Dataset(
        name=name,
        params=params,
        modality="image",
        inputs=images,
        labels=labels,
        class_names=names,
        splits=stratified_splits(labels, params["split_seed"], SHARES),
    )


def _info(name: str, title: str, order: int, params: tuple[Param, ...], file: File, description: str, **rest: str) -> DatasetInfo:
    info = DatasetInfo(
        name=name,
        title=title,
        modality="image",
        description=description,
        default_model="cnn",
        load=partial(_load, name),
        order=order,
        params=(*params, SPLIT_SEED),
        files=(file,),
        **rest,
    )
    return plantable(info, PERSON)


_REAL = "Faces of real people: only for looking at methods."

DATASET = (
    _info(
        "olivetti",
        "Faces (Olivetti)",
        36,
        (SIDE,),
        OLIVETTI,
        f"400 grey pictures of 40 people, ten each. {_REAL}",
        licence="credit to AT&T Laboratories Cambridge",
        citation="Samaria and Harter (1994), Parameterisation of a stochastic model for human face identification.",
    ),
    _info(
        "orl",
        "Faces (ORL)",
        37,
        (SIDE,),
        ORL,
        f"The 400 pictures of the Olivetti set in their original size of 92×112. Only from a file of your own. {_REAL}",
        licence="credit to Olivetti Research Laboratory",
        citation="Samaria and Harter (1994), Parameterisation of a stochastic model for human face identification.",
    ),
    _info(
        "lfw",
        "Faces (Labeled Faces in the Wild)",
        38,
        (SIDE, PICTURES),
        LFW,
        f"Colour press photographs of people with many pictures: about 3,000 of 62 people. {_REAL}",
        licence="for research; rights of the photographs stay with their owners",
        citation="Huang, Ramesh, Berg and Learned-Miller (2007), Labeled Faces in the Wild, University of Massachusetts, Amherst.",
    ),
)
