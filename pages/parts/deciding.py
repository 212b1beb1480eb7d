"""What a model's answer to one text or row hangs on, marked in the text itself: asked for on demand, sign shown by shape as well as colour."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np
import streamlit as st

from pages.parts import jobs
from pages.parts.backend import backend
from pages.parts.blocks import chart
from pages.parts.remembering import remembered
from unlearn_core import models
from unlearn_core.data.parts import MODALITIES, column_spans
from unlearn_core.data.tokens import spans
from unlearn_core.evidence.attribution import GIVEN, MOST, SOURCE, definition, same_first
from unlearn_core.figures import attribution as figures
from unlearn_core.runs import api
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original, attribution_path
from unlearn_core.runs.spec import attribution_key

AHEAD = 100  # instances asked for at once, so that turning a page rarely waits
MARKED = 8  # parts of one instance that are marked at the most
LONGEST = 600  # characters of a text or row
NAMED = 3  # parts that are named with their weight
LEAST_SHARE, LEAST = 0.2, 0.05  # of the heaviest one, and logits: lighter parts are not marked
# Translucent, so that the text keeps its colour in both themes.
SUPPORTS = "background: rgba(0, 114, 178, {alpha}); font-weight: 700; border-bottom: 2px solid rgb(0, 114, 178)"
AGAINST = "background: rgba(213, 94, 0, {alpha}); font-style: italic; border-bottom: 2px dotted rgb(213, 94, 0)"


def available(found: Original) -> bool:
    """Whether instances of this data have words or columns with a name."""
    return found.meta["modality"] in MODALITIES and found.task != "number" and not models.info(found.spec.model).prepare


def _unasked(found: Original) -> str:
    """Why nobody can ask what the answers hang on, where people see words or columns; "" for pictures and points."""
    if found.meta["modality"] not in MODALITIES:
        return ""
    if found.task == "number":
        return "the answer is a number, which has no odds that a part could raise or lower"
    return "the model reads the features of a frozen encoder, not the parts themselves"


def weights(found: Original, ids: Iterable[int], ahead: Iterable[int] = ()) -> dict[int, np.ndarray]:
    """The weights of the parts of these instances as far as they are there.

    Asks for those that are not there, and for those of `ahead` with them, and shows the progress of that.
    """
    there = _stored(found)
    if any(i not in there for i in ids):
        missing = [i for i in dict.fromkeys((*ids, *ahead)) if i not in there]
        store = backend().store
        key = api.submit_attribution(store, found.spec, missing)
        jobs.panel(key, "what the answers hang on", lambda: api.submit_attribution(store, found.spec, missing), curves=False)
    return there


def _stored(found: Original) -> dict[int, np.ndarray]:
    try:
        changed = attribution_path(backend().store, found.key).stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _load(str(backend().store.folder), found.key, changed)


@remembered(6)
def _load(folder: str, key: str, changed: int) -> dict[int, np.ndarray]:
    return api.load_attribution(backend().store, key)


def legend(found: Original, short: bool = False) -> None:
    """What the marks mean; short: where the definition stands beside it."""
    told = "In logits." if short else f"{escape(definition(found.meta['modality'], found.task))} Source: {escape(SOURCE)}."
    given = GIVEN[found.task]
    marks = f"{_mark('speaks for', 1.0, given)} {given}, {_mark('against', -1.0, given)} {'it' if found.task == 'classes' else 'them'}"
    st.html(f"<small>{marks}. {told}</small>")


def shown(found: Original, instance: int, logits: np.ndarray | None, most: int) -> str:
    """One instance as HTML: its text or row with the heaviest parts marked and named. logits: [parts], None while they are not known."""
    text = found.texts[found.row_of[instance]]
    if logits is None:
        return f"<div>{escape(_cut(text, most))}</div>"
    places = part_spans(found, instance)
    marked = {places[part]: logits[part] for part in heaviest(logits) if part < len(places) and places[part]}
    strongest = max((abs(value) for value in marked.values()), default=1.0)
    pieces, at = [], 0
    for (begin, end), value in sorted(marked.items()):
        if begin >= most:
            break
        pieces += [escape(text[at:begin]), _mark(text[begin:end], float(value) / strongest, f"{value:+.2f} logits")]
        at = end
    pieces.append(escape(_cut(text[at:], max(most - at, 0))))
    return f"<div>{''.join(pieces)}</div>{named(found, instance, logits)}"


def named(found: Original, instance: int, logits: np.ndarray) -> str:
    """The few heaviest parts with their weights in logits, as HTML."""
    names = part_names(found, instance)
    weight = lambda value: f"{value:+.2f}".replace("-", "−")  # noqa: E731
    said = [f"{escape(names[part])} {weight(logits[part])}" for part in heaviest(logits)[:NAMED] if part < len(names)]
    return f"<small>{' · '.join(said) if said else 'No single part matters.'}</small>"


def heaviest(logits: np.ndarray) -> list[int]:
    """The parts that are marked, the heaviest first."""
    size = np.abs(logits)
    order = np.argsort(-size, kind="stable")[:MARKED]
    return [int(part) for part in order if size[part] >= max(LEAST, LEAST_SHARE * size.max())]


def part_spans(found: Original, instance: int) -> list[tuple[int, int] | None]:
    """Where each part stands in the text that a person reads; None for columns that it leaves out."""
    text = found.texts[found.row_of[instance]]
    return spans(text) if found.meta["modality"] == "text" else column_spans(text, found.meta["feature_names"])


def part_names(found: Original, instance: int) -> list[str]:
    """Each part in words: the word itself, or the column with its value where the text holds it."""
    text = found.texts[found.row_of[instance]]
    if found.meta["modality"] == "text":
        return [text[begin:end] for begin, end in spans(text)]
    names = found.meta["feature_names"]
    return [text[slice(*place)] if place else name for name, place in zip(names, part_spans(found, instance), strict=True)]


def before_and_after(run: Run, found: Original) -> None:
    """What the answers of all models of a run hang on, one forgotten instance at a time; computed when a person asks."""
    if not available(found):
        if reason := _unasked(found):
            st.caption(f"Which words or columns decide is not told: {reason}.")
        return
    what = "words" if found.meta["modality"] == "text" else "columns"
    st.markdown(f"##### Which {what} decide, before and after")
    legend(found)
    view = api.load_run_attribution(backend().store, run.key)
    if view is None:
        _asking(run, what)
        return
    if shares := same_first(view):
        st.markdown(_agreement(shares, len(view["ids"]), len(view["retrained"]), what[:-1]))
    ids = view["ids"].tolist()
    if len(run.spec.gone) > len(ids):
        st.caption(f"The first {len(ids)} of {len(run.spec.gone):,} forgotten instances.")
    given = dict(zip(ids, found.words("target", [found.row_of[i] for i in ids]), strict=True))
    title = lambda i: f"{i}: {given[i]}, {_cut(' '.join(found.texts[found.row_of[i]].split()), 60)}"  # noqa: E731
    instance = st.selectbox("Instance", ids, format_func=title, key=f"deciding.one.{run.key}", help="With its given label.")
    at = ids.index(instance)
    part = slice(int(view["start"][at]), int(view["start"][at + 1]))
    models = {"Original": view["original"], "Unlearned": view["unlearned"]}
    if len(view["retrained"]):
        models[f"Retrained (mean of {len(view['retrained'])})"] = view["retrained"].mean(axis=0)
    left, right = st.columns([3, 2], gap="large")
    with left:
        for who, logits in models.items():
            st.html(f"<small><b>{escape(who)}</b></small>{shown(found, instance, logits[part], LONGEST)}")
    with right:
        names = part_names(found, instance)[: part.stop - part.start]
        names += [""] * (part.stop - part.start - len(names))  # words that the stored text no longer holds
        alt = f"Instance {instance}: weight of its {what} for the original, the unlearned and the retrained models"
        chart(run, f"deciding.{instance}", figures.weights(view, part, names), alt, figures.frame(view, part, names))


def _asking(run: Run, what: str) -> None:
    store, key = backend().store, attribution_key(run.key)
    again = lambda: api.submit_run_attribution(store, run)  # noqa: E731
    job = store.job(key)
    if job and job.status != "done":
        jobs.panel(key, "what the models' answers hang on", again, curves=False)
    elif st.button(f"Find the {what} for the first {min(len(run.spec.gone), MOST)}", key=f"deciding.{run.key}", icon=":material/segment:"):
        again()
        st.rerun()


def _agreement(shares: dict[str, float], count: int, models: int, what: str) -> str:
    among = f" (retrained models among themselves: {shares['retrained']:.0%})" if "retrained" in shares else ""
    return (
        f"The {what} that weighs most is the same as in a retrained model for **{shares['original']:.0%}** of the {count} instances in the original "
        f"and **{shares['unlearned']:.0%}** after unlearning{among}; mean over {models} retrained model{'s' if models > 1 else ''}."
    )


def _mark(text: str, strength: float, told: str) -> str:
    """strength: −1 … 1, of the heaviest part."""
    style = (SUPPORTS if strength > 0 else AGAINST).format(alpha=round(0.15 + 0.25 * abs(strength), 2))
    sign = "+" if strength > 0 else "−"
    return f'<mark style="color: inherit; padding: 0 2px; border-radius: 3px; {style}" title="{escape(told)}">{escape(text)}<sup>{sign}</sup></mark>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()} …"
