"""A run in plain words and in tables."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass

import numpy as np

from unlearn_core import data, evidence, methods
from unlearn_core.evidence.base import LEVEL, MIN_RETRAINS, Measure
from unlearn_core.runs.api import Run


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
    how = f"{method.title}, α = {strength:g}" if isinstance(strength, (int, float)) else method.title
    count = len(spec.forget)
    what = f"{count:,} training instance{'s' if count != 1 else ''} of {data.info(spec.original.dataset).title}"
    return [f"{what} {'were' if count != 1 else 'was'} removed from the model {spec.original.model} with {how}.", *run.notes]


def _cost(run: Run) -> list[str]:
    method, retrained = run.timings["method"], run.timings["retrained"]
    said = [f"The method took {seconds(method)}."]
    if retrained and run.spec.method != "retrain":
        mean = float(np.mean(retrained))
        said = [f"The method took {seconds(method)}, one retraining {seconds(mean)} ({method / mean:.0%} of it)."]
        if method >= mean:
            said.append("Retraining was the cheaper way here, and it is exact: prefer it.")
    for group, name in (("retain", "the instances that stay"), ("test", "test instances")):
        found = _find(run, f"utility.accuracy.{group}")
        if found and found.original is not None and found.unlearned is not None:
            said.append(f"Accuracy on {name}: {found.original:.1%} before, {found.unlearned:.1%} after{_beside(found)}.")
    return said


def _sure(run: Run) -> list[str]:
    if run.retrained < MIN_RETRAINS:
        return [f"Not yet known: a verdict needs {MIN_RETRAINS} models retrained without these instances, {run.retrained} of {run.spec.retrains} are there."]
    judged = [(m, m.inside()) for m in run.measures if m.inside() is not None and evidence.definition(m.family).verdict]
    outside = [m for m, inside in judged if not inside]
    said = [
        f"{len(judged) - len(outside)} of {len(judged)} measures lie where one further retrained model would be expected "
        f"({LEVEL:.0%} prediction interval from {run.retrained} seeds). About {1 - LEVEL:.0%} fall outside by chance alone."
    ]
    telling = [m for m in outside if m.group in ("forget", "neighbours")] or outside
    for measure in telling[:3]:
        title = evidence.definition(measure.family).title
        said.append(f"Outside: {title}, {measure.group}: {measure.unlearned:.3g}; retrained {measure.retrained.low:.3g} to {measure.retrained.high:.3g}.")
    if run.retrained < 5:
        said.append(f"With {run.retrained} seeds the interval is wide, so only large deviations can be seen; more retrained models sharpen it.")
    return said


def _limits(run: Run) -> list[str]:
    method = methods.info(run.spec.method)
    said = [
        "Lying inside the interval means that these measures cannot tell the model from a retrained one; it is no proof that nothing of the instances is left.",
        "The privacy attacks shown here work on averages over a population and are weak against single instances.",
    ]
    if method.goal == "misclassify":
        said.append("This method aims at wrong answers on the forgotten instances, which is not what retraining gives.")
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


COLUMNS = ("id", "group", "original", "unlearned", "retrained_mean", "retrained_low", "retrained_high", "inside", "null_low", "null_high", "ci_low", "ci_high", "reliability", "n", "reason", "definition", "unit")


def rows(measures: list[Measure]) -> list[dict]:
    """Measures as flat rows with the columns COLUMNS."""
    table = []
    for m in measures:
        known = evidence.definition(m.family)
        band, null, ci = m.retrained, m.null or (None, None), m.ci or (None, None)
        values = (m.id, m.group, m.original, m.unlearned, band and band.mean, band and band.low, band and band.high, m.inside(), *null, *ci)
        table.append(dict(zip(COLUMNS, (*values, m.reliability, m.n, m.reason or "", known.text, known.unit), strict=True)))
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


def bundle(run: Run) -> bytes:
    """A zip of the unlearned model (safetensors), its spec and all measures: what a replay needs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(run.model_path, "model.safetensors")
        archive.write(run.folder / "spec.json", "spec.json")
        archive.writestr("evidence.csv", to_csv(rows(run.measures)))
    return out.getvalue()


def as_text(run: Run) -> str:
    """The run for a terminal: summary first, then every measure."""
    said = summary(run)
    lines = []
    for title, part in (("Forgotten", said.forgotten), ("Cost", said.cost), ("How sure", said.sure), ("What this does not prove", said.limits)):
        lines += [title, *(f"  {sentence}" for sentence in part), ""]
    lines.append(f"{'measure':<46}{'original':>10}{'unlearned':>11}{'retrained':>11}  interval")
    for m in run.measures:
        numbers = (m.original, m.unlearned, m.retrained.mean if m.retrained else None)
        shown = "".join(f"{'–' if v is None else format(v, '.4g'):>11}" for v in numbers)
        low = "" if not m.retrained or m.retrained.low is None else f"  {m.retrained.low:.4g} … {m.retrained.high:.4g}"
        lines.append(f"{m.id:<45}{shown}{low}" + (f"  ({m.reason})" if m.reason else ""))
    return "\n".join([*lines, "", f"run {run.key}"])
