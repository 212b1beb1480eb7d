"""The map of the open original: which points, which colours, what it can be trusted for."""

from __future__ import annotations

import base64

import numpy as np
from streamlit.delta_generator import DeltaGenerator

from pages.parts import answers, jobs, pooling
from pages.parts.backend import backend, original
from pages.parts.picker import Points
from pages.parts.remembering import remembered
from unlearn_core import projection
from unlearn_core.data.forget import ForgetSet
from unlearn_core.figures.palette import BLUE, GREY, SEQUENTIAL, VERMILLION, class_style
from unlearn_core.runs import api, pools
from unlearn_core.runs.originals import Original

COLOURS = ("class", "predicted class", "correct or not", "loss", "confidence", "selected")
LAYOUTS = projection.TITLES | {"pacmap": "PaCMAP (fast)", "pca": "PCA (instant, linear)", "input": "the points' own coordinates"}
LAYOUT_HELP = (
    "All layouts show all training instances, and the same seed gives the same map. UMAP and PaCMAP keep the neighbours that an instance has for the model "
    f"together; PaCMAP takes a fraction of the time and is what comes by itself above {projection.UP_TO:,} instances. PCA is a straight projection. "
    "A layout that is not there yet is computed when it is chosen."
)
TEXT_LINES = 12
SNIPPET = 280  # characters of a text beside the pointer


def points(found: Original, layout: str, colour: str, forget: ForgetSet, gone: tuple[int, ...] = ()) -> Points:
    """The picker's points; only "selected" depends on the chosen set, everything else is kept. gone: ids that earlier requests forgot."""
    chosen = forget.ids if colour == "selected" else ()
    pool = pooling.table(found) if colour in pooling.COLUMNS.values() else None
    return _points(found.key, layout, colour, chosen, pool and pool.key, hash(gone), gone)


def colours(found: Original) -> list[str]:
    """What the map can be coloured by: more once a shadow pool is there."""
    return [*(COLOURS if found.task == "classes" else answers.colours(found)), *(pooling.COLUMNS.values() if pooling.table(found) else ())]


def choose_layout(place: DeltaGenerator, found: Original) -> tuple[str, str | None]:
    """Let the person choose among the layouts that are there and those that can be computed here: the one to draw, and one that is awaited."""
    more = projection.possible(backend().service.devices(), len(found.ids)) if found.complete and "pca" in found.layouts else []
    names = [*found.layouts, *(name for name in more if name not in found.layouts)]
    wanted = place.selectbox(
        "Layout", names, format_func=LAYOUTS.get, key=f"layout.{found.key}", disabled=len(names) == 1, help=LAYOUT_HELP if more else None
    )
    return (wanted, None) if wanted in found.layouts else (found.layouts[0], wanted)


def awaited(found: Original, name: str) -> None:
    """Start a layout that is not there yet, unless the person cancelled it or it failed, and show how far it is."""
    store = backend().store
    job = store.job(api.layout_key(found.spec, name))
    if job is None or job.status == "done":  # done without a result: the original was made anew since
        job = api.submit_layout(store, found.spec, name)
    jobs.panel(job.key, f"laying out with {projection.TITLES[name]}", lambda: api.submit_layout(store, found.spec, name), curves=False)


@remembered(12)
def _points(key: str, layout: str, colour: str, chosen: tuple[int, ...], pool: str | None, mark: int, _gone: tuple[int, ...]) -> Points:
    """mark: stands for `_gone`, since hashing tens of thousands of ids on every rerun takes a while here."""
    found = original(key)
    xy = found.layout(layout)
    shared = {
        "ids": found.ids.astype(np.int32),
        "x": xy[:, 0].astype(np.float32),
        "y": xy[:, 1].astype(np.float32),
        "captions": captions(key),
        "title": colour.capitalize(),
        "sprite": _sprite(key),
        "tiles": found.tiles if found.sprite and not found.inline else None,
        "name": key,
        "tile": tuple(found.meta["tile"]) if found.meta["tile"] else (0, 0),
        "columns": found.meta["columns"],
        "rows": _rows(key),
    }
    coloured = _by_pool(pool, colour) if pool else _colouring(found, colour, chosen)
    return Points(**(shared | (_without(coloured, np.isin(found.ids, _gone)) if _gone else coloured)))


def _without(coloured: dict, gone: np.ndarray) -> dict:
    """The same colours with the points `gone` [n] bool set apart: a grey cross among classes, hollow grey on a scale."""
    if "value" in coloured:
        return coloured | {"value": np.where(gone, np.nan, coloured["value"]).astype(np.float32)}
    last = len(coloured["names"])
    more = {"names": (*coloured["names"], "forgotten earlier"), "colours": (*coloured["colours"], GREY), "shapes": (*coloured["shapes"], 4)}
    return coloured | more | {"category": np.where(gone, last, coloured["category"]).astype(np.int16)}


def _by_pool(key: str, colour: str) -> dict:
    name = next(name for name, title in pooling.COLUMNS.items() if title == colour)
    value = pools.load(backend().store, key).arrays[name]
    return {"value": np.nan_to_num(value, nan=float(np.nanmin(value))).astype(np.float32), "colours": tuple(SEQUENTIAL[1:])}


def _colouring(found: Original, colour: str, chosen: tuple[int, ...]) -> dict:
    if found.task != "classes" and (own := answers.colouring(found, colour)):
        return own
    arrays, classes = found.arrays, tuple(found.meta["class_names"])
    if colour in ("class", "predicted class", "group", "range"):
        styles = [class_style(i) for i in range(len(classes))]
        column = arrays["predicted" if colour == "predicted class" else "label"]
        return {
            "category": column.astype(np.int16),
            "names": classes,
            "colours": tuple(c for c, _ in styles),
            "shapes": tuple(s for _, s in styles),
        }
    if colour in ("loss", "confidence"):
        # The scale runs from light to dark where there is something to see: high loss, low confidence.
        stops = SEQUENTIAL[1:] if colour == "loss" else SEQUENTIAL[1:][::-1]
        value = np.log10(np.maximum(arrays["loss"], 1e-6)) if colour == "loss" else arrays["confidence"]
        return {
            "value": value.astype(np.float32),
            "colours": tuple(stops),
            "title": "Loss (log10 nats)" if colour == "loss" else "Confidence",
        }
    if colour == "correct or not":
        right = (arrays["label"] == arrays["predicted"]).astype(np.int16)
        return {"category": right, "names": ("wrong", "correct"), "colours": (VERMILLION, BLUE), "shapes": (3, 0)}
    inside = np.isin(found.ids, chosen).astype(np.int16)
    return {"category": inside, "names": ("kept", "chosen to forget"), "colours": (GREY, VERMILLION), "shapes": (0, 3)}


@remembered(6)
def captions(key: str) -> tuple[str, ...]:
    """One short line for each training instance: id, label, prediction, loss."""
    found = original(key)
    a, given = found.arrays, {"classes": "label", "labels": "labels", "number": "is"}[found.task]
    return tuple(
        f"id {i} · {given} {label} · predicted {predicted} · loss {loss:.3g}"
        for i, label, predicted, loss in zip(
            a["ids"].tolist(), found.words("target"), found.words("answer"), a["loss"].tolist(), strict=True
        )
    )


@remembered(6)
def _rows(key: str) -> tuple[str, ...] | None:
    found = original(key)
    if not found.texts:
        return None
    if found.meta["modality"] == "text":
        return tuple(snippet(text, SNIPPET) for text in found.texts)
    parts = (text.split(", ") for text in found.texts)
    return tuple("\n".join(p[:TEXT_LINES]) + (f"\n… and {len(p) - TEXT_LINES} more" if len(p) > TEXT_LINES else "") for p in parts)


def snippet(text: str, most: int) -> str:
    """The beginning of a text in one line that may wrap, cut between words where they are not too long."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    at = line.rfind(" ", most * 3 // 4, most)
    return f"{line[: at if at > 0 else most - 1].rstrip(' ,')} …"


@remembered(6)
def _sprite(key: str) -> str | None:
    found = original(key)
    return "data:image/png;base64," + base64.b64encode(found.sprite.read_bytes()).decode() if found.inline else None


def trust(found: Original, layout: str, gone: tuple[int, ...] = ()) -> str:
    """What the layout is, and what it can be trusted for; gone: ids that earlier requests forgot."""
    if gone:
        return (
            f"{trust(found, layout)} The {len(gone):,} points forgotten earlier are grey and cannot be chosen again. The map, its predictions and losses "
            "are the original's, whichever model the next request goes on from."
        )
    if layout == "input":
        return "Points are shown in their own coordinates: distances are real."
    share, count, most = found.meta["trustworthiness"][layout], len(found.ids), projection.TRUST_SAMPLE
    sampled = f", measured on a random sample of {most:,} of them" if count > most else ""
    again = " Another run of it on a GPU may differ a little." if layout == projection.CUML else ""
    return (
        f"{LAYOUTS[layout]} of the model's features over all {count:,} training instances. Trustworthiness {share:.3f}{sampled} "
        f"(1 means that every neighbour on the map is a neighbour for the model). Distances between clusters mean nothing.{again}"
    )
