"""A run in plain words and in tables."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unlearn_core import data, evidence, methods, models
from unlearn_core.data.parts import column_spans
from unlearn_core.evidence.base import LEVEL, MIN_RETRAINS, Measure
from unlearn_core.evidence.instances import ENOUGH, waffles
from unlearn_core.evidence.verdicts import NOT
from unlearn_core.runs.api import Run
from unlearn_core.runs.originals import Original
from unlearn_core.runs.spec import RunSpec

NAMED = 12  # ids that a sentence lists
# Of classes, of several labels, of a number: what it is called in a sentence, and its digits.
USEFULNESS = {
    "utility.accuracy": ("accuracy", ".1%"),
    "utility.exact": ("share of instances with all labels right", ".1%"),
    "utility.error": ("mean absolute error", ".3g"),
}
FEW_ABLE = 5  # measures below which hardly anything can be said


@dataclass(frozen=True)
class Summary:
    """What a decision maker reads first; each part is a list of plain sentences."""

    forgotten: list[str]
    cost: list[str]
    sure: list[str]
    limits: list[str]


def summary(run: Run) -> Summary:
    """The run in plain words, from its own numbers only."""
    return Summary(_forgotten(run), _cost(run), _sure(run), _limits(run))


def _forgotten(run: Run) -> list[str]:
    spec, method = run.spec, methods.info(run.spec.method)
    strength = run.chosen.get("alpha", spec.params.get("alpha"))
    how = f"{method.title}, α = {strength:.4g}" if isinstance(strength, (int, float)) else method.title
    count = len(spec.forget)
    what = f"{count:,} training instance{'s' if count != 1 else ''} of {data.title(spec.original.dataset, spec.original.dataset_params)}"
    ids = ", ".join(map(str, spec.forget[:NAMED])) + (f" and {count - NAMED} more" if count > NAMED else "")
    asked = f"{how} was asked to make the model ({models.info(spec.original.model).title}) forget {what} (ids {ids})."
    return [asked, *_together(spec), *goal(run), *instances(run), *run.notes]


def goal(run: Run) -> list[str]:
    """What a method that aims at wrong answers did, beside what retraining gives; nothing for methods that undo."""
    # After other requests only the last one's instances are what this method aimed at.
    found = _find(run, f"requests.accuracy.request:{len(run.spec.requests)}") if run.spec.parent else _usefulness(run, "forget")
    if methods.info(run.spec.method).goal == "undo" or found is None or found.unlearned is None:
        return []
    beside = f"; models trained without them score {found.retrained.mean:.0%}" if found.retrained else ""
    return [
        f"This method drives accuracy on the points down ({found.original:.0%} {before(run)}, {found.unlearned:.0%} now){beside}. "
        "If they shall be as if never seen, choose a method that undoes."
    ]


def before(run: Run) -> str:
    """When the original's value was true."""
    return "in the original" if run.spec.parent else "before"


def _together(spec: RunSpec) -> list[str]:
    """What came before a later request."""
    if not spec.parent:
        return []
    return [
        f"This was request {len(spec.requests)}: it went on from the model of run {spec.parent.key[:8]}, where {len(spec.earlier):,} instances were "
        f"forgotten already. All evidence is about the {len(spec.gone):,} together."
    ]


def _cost(run: Run) -> list[str]:
    method, retrained = run.timings["method"], run.timings["retrained"]
    took = f"The method took {seconds(method)}" + (" for this last request" if run.spec.parent else "")
    said = [f"{took}."]
    if retrained and run.spec.method != "retrain":
        mean = float(np.mean(retrained))
        said = [f"{took}, one retraining {seconds(mean)} ({method / mean:.0%} of it)."]
        if method > max(retrained):
            said.append("Retraining was the cheaper way here, and it is exact: prefer it.")
    if run.timings.get("pool"):
        said.append(_pool(run))
    for group, name in (("retain", "the instances that stay"), ("test", "test instances")):
        found = _find(run, f"utility.accuracy.{group}")
        if found and found.original is not None and found.unlearned is not None:
            said.append(f"Accuracy on {name}: {found.original:.1%} {before(run)}, {found.unlearned:.1%} after{_beside(found)}.")
        unit = f" {run.views['number']['unit']}" if "number" in run.views else ""
        for family, form in (("utility.exact", ".1%"), ("utility.error", ".3g")):  # of several labels, of a number
            found = _find(run, f"{family}.{group}")
            if found and found.original is not None and found.unlearned is not None:
                kept = f" (retrained {found.retrained.mean:{form}})" if found.retrained else ""
                title = evidence.definition(family).title
                said.append(f"{title} on {name}: {found.original:{form}}{unit} {before(run)}, {found.unlearned:{form}} after{kept}.")
    return said


def _pool(run: Run) -> str:
    """What the shadow models cost that a method aims by, shared and not shared."""
    took, method, retrained = run.timings["pool"], run.timings["method"], run.timings["retrained"]
    times = f", {took / np.mean(retrained):.0f} retrainings" if retrained else ""
    return (
        f"Its {run.spec.params['pool']} shadow models are not in that: they took about {seconds(took)}{times}, once for this data and model, and serve every "
        f"later request. For a single request it comes to {seconds(took + method)}."
    )


def _sure(run: Run) -> list[str]:
    if not run.spec.retrains:
        return ["No retrained models were asked for, so there is nothing to compare with and no verdict."]
    if run.retrained < MIN_RETRAINS:
        return [
            f"Not yet known: a verdict needs {MIN_RETRAINS} models retrained without these instances, {run.retrained} of {run.spec.retrains} are there."
        ]
    judged: dict[str, list[Measure]] = {"like retrained": [], "still different": [], "moved away": [], "cannot tell": []}
    for m in run.measures:
        if m.verdict() and evidence.definition(m.family).verdict and "class:" not in m.group and "label:" not in m.group:
            judged[m.verdict()].append(m)
    reached, different, away = judged["like retrained"], judged["still different"], judged["moved away"]
    able = len(reached) + len(different)
    basis = f"{LEVEL:.0%} prediction interval from {run.retrained} seeds"
    if able:
        total = able + len(away) + len(judged["cannot tell"])
        said = [
            f"{able} of {total} measures show a difference between the untouched original and retrained models ({basis}); the others cannot judge this run. "
            f"After unlearning, {len(reached)} of the {able} look like retraining."
        ]
        if able < FEW_ABLE:
            said.append("These instances left little measurable trace in the first place, so this run can show little either way.")
    else:
        said = [
            f"No measure shows a difference between the untouched original and retrained models ({basis}), so this evidence cannot show whether anything was forgotten."
        ]
    past = [m for m in different if _past(m)]
    said += _named("Still different", [m for m in different if m not in past])
    said += _named("Went past retraining, to the other side", past) + _named("Moved away from retraining", away)
    if different or away:
        said.append(f"About {1 - LEVEL:.0%} of measures fall outside by chance alone.")
    if run.retrained < 5:
        said.append(
            f"With {run.retrained} seeds the interval is wide, so only large deviations can be seen; more retrained models sharpen it."
        )
    refused = sum(m.refused is not None for m in run.measures)
    if refused:
        said.append(
            f"{refused} privacy verdict{'s are' if refused != 1 else ' is'} refused, because there are too few instances for this small an effect."
        )
    said += baseline(run) + _shadowed(run)
    if not instances(run):
        lacking = _find(run, f"instances.told_apart.{evidence.EVERYTHING}")  # for lack of a confidence, not of models
        said.append(f"No verdicts on single instances: {lacking.reason if lacking else f'they need {ENOUGH} retrained models'}.")
    return said


def baseline(run: Run) -> list[str]:
    """Whether a model whose weights were given differs from retrained ones where nothing was forgotten; nothing for models trained here."""
    if not run.spec.original.weights:
        return []
    forgotten = _find(run, "utility.accuracy.forget")
    # A class that is gone changes test accuracy too, whatever the recipe.
    gone = forgotten is not None and forgotten.retrained is not None and forgotten.retrained.mean == 0
    named = {"retain": "the instances that stay"} | ({} if gone else {"test": "test instances"})
    found = {name: m for group, name in named.items() if (m := _usefulness(run, group)) and m.inside(m.original) is not None}
    apart = [
        f"{name} ({m.original:{USEFULNESS[m.family][1]}}, retrained {_spread(m)})" for name, m in found.items() if not m.inside(m.original)
    ]
    if apart:
        what = next(USEFULNESS[m.family][0] for m in found.values())
        return [
            f"The given model's {what} differs from the retrained models' by more than their seeds do on {' and '.join(apart)}. So its recipe was not the one "
            "here, and other differences need not come from the forgotten instances either: judge by how the values change, not by the interval alone."
        ]
    return [f"The given model is as accurate as the retrained ones on {' and on '.join(found)}."] if found else []


def _spread(measure: Measure) -> str:
    """The retrained interval in words, with the digits that suit the measure."""
    low, high = evidence.bounds(measure)
    form = USEFULNESS[measure.family][1]
    return f"{low:{form}} to {high:{form}}"


def _usefulness(run: Run, group: str) -> Measure | None:
    """How well a group of instances is answered, by what the task has of USEFULNESS."""
    return next((m for family in USEFULNESS if (m := _find(run, f"{family}.{group}"))), None)


def _shadowed(run: Run) -> list[str]:
    """What an audit adds. Shares of single verdicts only where no verdicts by exact retraining are there, and where the pool can tell at all."""
    said, share, after = [], _find(run, "shadows.told_apart.forget"), _find(run, "shadows.u_lira.forget")
    if share and share.unlearned is not None and not share.refused and not instances(run):
        n, retrained = share.n, share.retrained.mean if share.retrained else 0.0
        counts = f"{share.unlearned * n:.0f} of the {n:,} forgotten instances that they can judge ({share.original * n:.0f} in the untouched original, {retrained * n:.0f} after retraining)"
        said.append(
            f"Shadow models still tell apart {counts}."
            if share.original > retrained
            else "The shadow models cannot judge single instances of this set."
        )
    if after and after.unlearned is not None:
        said.append(
            f"An attacker who knows the method tells its forgotten instances from never-seen ones with an AUC of {after.unlearned:.2f} (0.50 after exact retraining, {after.original:.2f} before unlearning)."
        )
    return said


def instances(run: Run) -> list[str]:
    """How many forgotten instances are not told apart from never-seen ones, one by one, beside exact retraining; empty if unknown."""
    view = run.views.get("instances")
    if view is None or "verdict_retrained" not in view:  # too few retrained models, or stored by an earlier version
        return []
    found = waffles(view)
    return [f"One by one: {found['unlearned'].text}; the untouched original: {found['original'].counts[NOT]}."]


def _past(measure: Measure) -> bool:
    """Whether the unlearned value lies beyond the retrained interval as seen from the original."""
    low, high = measure.retrained.low, measure.retrained.high
    return measure.original > high and measure.unlearned < low or measure.original < low and measure.unlearned > high


def _named(title: str, measures: list[Measure], most: int = 3) -> list[str]:
    """A sentence that names the first few measures, those of forgotten instances first."""
    if not measures:
        return []
    measures = sorted(measures, key=lambda m: m.group not in ("forget", "neighbours"))
    shown = [
        f"{evidence.definition(m.family).title.lower()} ({m.group}) {_number(m.unlearned)}, retrained {span(m)}" for m in measures[:most]
    ]
    rest = f"; and {len(measures) - most} more" if len(measures) > most else ""
    return [f"{title}: {'; '.join(shown)}{rest}."]


def span(measure: Measure) -> str:
    """The retrained interval in words."""
    found = evidence.bounds(measure)
    return f"{_number(found[0])} to {_number(found[1])}" if found else "–"


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _limits(run: Run) -> list[str]:
    method = methods.info(run.spec.method)
    inside = "Lying inside the interval means that these measures cannot tell the model from a retrained one; it is no proof that nothing of the instances is left."
    said = [
        *([inside] if run.retrained >= MIN_RETRAINS else []),
        "The population attacks work on averages and are weak against single instances."
        + (" The verdicts instance by instance see only the model's confidence." if instances(run) else ""),
    ]
    if method.goal == "misclassify":
        said.append("This method aims at wrong answers on the forgotten instances, which is not what retraining gives.")
    if len({methods.info(request.method).goal for request in run.spec.requests}) > 1:
        said.append(
            "Some requests aimed at wrong answers and others at being as if never seen; values of all instances together mix the two."
        )
    if run.spec.method != "retrain":
        said.append(f"Known limit of {method.title}: {method.limits}")
    return said


def _beside(measure: Measure) -> str:
    return f" (retrained {measure.retrained.mean:.1%})" if measure.retrained else ""


def _find(run: Run, id: str) -> Measure | None:
    return next((m for m in run.measures if m.id == id), None)


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


COLUMNS = (
    "id",
    "group",
    "original",
    "unlearned",
    "retrained_mean",
    "retrained_low",
    "retrained_high",
    "verdict",
    "null_low",
    "null_high",
    "ci_low",
    "ci_high",
    "reliability",
    "n",
    "reason",
    "refused",
    "definition",
    "unit",
)


def rows(measures: list[Measure]) -> list[dict]:
    """Measures as flat rows with the columns COLUMNS."""
    table = []
    for m in measures:
        known = evidence.definition(m.family)
        null, ci = m.null or (None, None), m.ci or (None, None)
        band = (m.retrained and m.retrained.mean, *(evidence.bounds(m) or (None, None)))
        verdict = (known.verdict and m.verdict()) or ""
        values = (m.id, m.group, m.original, m.unlearned, *band, verdict, *null, *ci, m.reliability, m.n, m.reason or "", m.refused or "")
        table.append(dict(zip(COLUMNS, (*values, known.text, known.unit), strict=True)))
    return table


def to_csv(table: list[dict]) -> str:
    """Rows as CSV with a header; empty text for no rows."""
    if not table:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


def weights(run: Run) -> bytes:
    """The unlearned model as a safetensors file, without what its architecture withholds (`ModelInfo.withheld`)."""
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(run.model_path, "numpy") as file:
        given = set(file.keys()).difference(models.info(run.spec.original.model).withheld)
        return save({name: file.get_tensor(name) for name in sorted(given)}, file.metadata())


def bundle(run: Run) -> bytes:
    """A zip of the unlearned model (safetensors), its spec and all measures: what a replay needs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", weights(run))
        archive.write(run.folder / "spec.json", "spec.json")
        archive.writestr("evidence.csv", to_csv(rows(run.measures)))
    return out.getvalue()


def forgotten(run: Run, original: Original, picture: Callable[[int], bytes]) -> bytes:
    """A zip of the forgotten instances as people see them: a table of ids, labels and texts or columns, and `picture(id)` as PNG of images."""
    out, meta, rows = io.BytesIO(), original.meta, [original.row_of[i] for i in run.spec.gone]
    table, given, answers = [], original.words("target", rows), original.words("answer", rows)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, row, label, predicted in zip(run.spec.gone, rows, given, answers, strict=True):
            told = {"id": i, "label": label, "predicted": predicted, "loss": float(original.arrays["loss"][row])}
            if original.sprite:
                archive.writestr(f"pictures/{i}.png", picture(i))
                told["picture"] = f"pictures/{i}.png"
            elif meta["modality"] == "text":
                told["text"] = original.texts[row]
            else:
                told |= _columns(original.texts[row], meta["feature_names"])
            table.append(told)
        archive.writestr("instances.csv", to_csv(table))
    return out.getvalue()


def _columns(text: str, names: list[str]) -> dict[str, str]:
    """A row as `Dataset.words` writes it, column by column; empty for those that it leaves out."""
    places = zip(names, column_spans(text, names), strict=True)
    return {f"column: {name}": text[place[0] + len(name) + 1 : place[1]] if place else "" for name, place in places}


def as_text(run: Run) -> str:
    """The run for a terminal: summary first, then every measure."""
    parts = summary(run)
    lines = []
    for title, part in (
        ("Forgotten", parts.forgotten),
        ("Cost", parts.cost),
        ("How sure", parts.sure),
        ("What this does not prove", parts.limits),
    ):
        lines += [title, *(f"  {sentence}" for sentence in part), ""]
    lines.append(f"{'measure':<46}{'original':>10}{'unlearned':>11}{'retrained':>11}  interval")
    for m in run.measures:
        numbers = (m.original, m.unlearned, m.retrained.mean if m.retrained else None)
        shown = "".join(f"{'–' if v is None else format(v, '.4g'):>11}" for v in numbers)
        said = [text for text in (m.reason, m.refused) if text]
        lines.append(f"{m.id:<45}{shown}  {span(m)}" + (f"  ({'; '.join(said)})" if said else ""))
    return "\n".join([*lines, "", f"run {run.key}"])
