"""Does holding anchors keep the structure? `python tests/benchmarks/stakes.py` prints a Markdown table.

Every method's path is recorded pass by pass with no guard-rail, and read where its accuracy on the forget set first falls to the same
LEVELS, between the two recorded states around it. Each seed draws splits, model and forget set anew; ± is a 95 % t interval over seeds.
Differences are paired by seed, against the same updates without anchors; only seeds in which both got that far count.

L2UL, adversaries: the same deletion, retention and proxies, nothing held. L2UL, importance: the squared distance of the weights that matter
least to the forget set is added (methods of Cha et al., arXiv 2301.11578). NegGrad+ and ∇τ see the retain set, the others do not.
"""

import copy
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from loop import hardware  # noqa: E402

from unlearn_core import data, methods, models  # noqa: E402
from unlearn_core.data.anchors import text_anchors  # noqa: E402
from unlearn_core.data.choose import draw  # noqa: E402
from unlearn_core.evidence import similarity  # noqa: E402
from unlearn_core.evidence.neighbourhoods import NEIGHBOURS  # noqa: E402
from unlearn_core.methods import stakes, structguard  # noqa: E402
from unlearn_core.models import training  # noqa: E402
from unlearn_core.models.device import settle  # noqa: E402
from unlearn_core.params import resolve  # noqa: E402
from unlearn_core.runs import applying  # noqa: E402
from unlearn_core.runs.spec import OriginalSpec, RunSpec  # noqa: E402

SETS = {
    "digits, 50 random": ("digits", 50, "random"),
    "digits, 50 hardest": ("digits", 50, "hardest"),
    "wine, 8 random": ("wine", 8, "random"),
}
LEVELS = (0.9, 0.5, 0.1, 0.0)
SEEDS = 5
PASSES = 100  # over the proxies; more where λ is large would only make the study longer
MEASURES = ("accuracy on retained", "accuracy on test", "kept neighbours", "drift from the stakes", "drift of class relations")
DEVICE = "cpu"


class ForgetImportance:
    """λ·½·Σ Ω̄ⱼ(θⱼ − θ₀ⱼ)² with Ω̄ = 1 − min-max(Ω) by tensor and Ωⱼ the mean |∂‖logits‖₂/∂θⱼ| over the forget set."""

    def __init__(self, task, parameters, strength):
        self.parameters, self.strength = parameters, strength
        self.start = [p.detach().clone() for p in parameters]
        x = task.x[task.forget]
        found = stakes.importance(lambda ids: task.model(x[ids]).norm(dim=1).mean(), parameters, torch.arange(len(x)).split(1))
        self.free = [1 - (v - v.min()) / (v.max() - v.min()).clamp(min=1e-30) for v in found]

    def __call__(self, rows, features):
        moved = zip(self.free, self.parameters, self.start, strict=True)
        return self.strength / 2 * sum((w * (p - s).square()).sum() for w, p, s in moved)


def l2ul(task, strength=1.0):
    return structguard.misclassify(task, lambda embed, inputs, rows, parameters: ForgetImportance(task, parameters, strength))


@dataclass(frozen=True)
class Way:
    """One row of the table: a method, its parameters, and `run` where it is not the method's own."""

    method: str
    params: dict = field(default_factory=dict)
    run: object = None


def held(anchors, **params):
    return Way("structguard", {"anchors": anchors, "epochs": PASSES} | params)


BASE = "L2UL, adversaries"
WAYS = {
    BASE: held("none"),
    "L2UL, importance": replace(held("none"), run=l2ul),
    "StructGuard, attributes": held("attributes"),
    "StructGuard, prototypes": held("prototypes"),
    "StructGuard, random": held("random"),
    "StructGuard, attributes, λ = 10": held("attributes", strength=10.0),
    "StructGuard, random, λ = 10": held("random", strength=10.0),
    "projector as published, attributes": held("attributes", projector="with"),
    "projector as published, no anchors": held("none", projector="with"),
    "NegGrad": Way("neggrad"),
    "NegGrad+": Way("neggrad_plus"),
    "∇τ, α = 0.95": Way("nabla_tau", {"alpha": 0.95, "passes": 24.0}),
}


@cache
def bench(name, seed):
    dataset = data.load(name, resolve(data.info(name).params, {"split_seed": seed}, name))
    info = models.info("mlp")
    params = resolve(info.params, {}, "mlp")
    return dataset, training.train(info, dataset, params, dataset.splits.train, seed, DEVICE), params


def forget_set(dataset, model, count, kind, seed):
    train = dataset.splits.train
    if kind == "random":
        return draw(train, count, seed)
    logits = torch.as_tensor(training.predict(model, dataset.inputs[train], DEVICE))
    loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(dataset.labels[train]), reduction="none").numpy()
    return train[np.argsort(-loss, kind="stable")[:count]]


class Reader:
    """Structure and accuracy of states, against the original of one dataset and forget set."""

    def __init__(self, dataset, model, forget):
        self.dataset, self.forget, self.train = dataset, forget, dataset.splits.train
        self.retain = np.setdiff1d(self.train, forget)
        self.inside = np.flatnonzero(np.isin(self.train, self.retain))
        self.classes = np.unique(dataset.labels[self.retain])
        self.before = self.structure(training.read(model, dataset.inputs, DEVICE).features)

    def structure(self, features):
        labels = self.dataset.labels[self.retain]
        unit, centre = similarity.class_stakes(features[self.retain], labels, self.classes)
        lists = similarity.nearest(similarity.directions(features[self.train], centre), self.inside, NEIGHBOURS)
        return lists, similarity.stake_relations(features[self.retain], unit, centre), unit @ unit.T

    def measure(self, model):
        outputs = training.read(model, self.dataset.inputs, DEVICE)
        right = outputs.logits.argmax(1) == self.dataset.labels
        lists, relations, classes = self.structure(outputs.features)
        return np.array(
            [
                right[self.retain].mean(),
                right[self.dataset.splits.test].mean(),
                similarity.kept(self.before[0], lists).mean(),
                np.abs(self.before[1] - relations).mean(),
                similarity.relation_drift(self.before[2], classes) if len(self.classes) > 2 else np.nan,
            ]
        )


def path(way, name, seed, forget):
    """(accuracy on the forget set, model) after every recorded step, the original first."""
    dataset, model, params = bench(name, seed)
    declared, states = methods.info(way.method), []
    x, y = training.tensors(dataset, DEVICE)
    ids = torch.as_tensor(forget)

    def look(current):
        states.append((training.accuracy(current, x, y, ids), copy.deepcopy(current)))
        return states[-1][0] == 0

    def recorded(task):
        look(task.model)
        return (way.run or declared.run)(replace(task, watch=look))

    spec = OriginalSpec.make(name, "mlp", {"split_seed": seed}, params)
    run = RunSpec.make(spec, dataset.hash, dataset.splits.train, len(dataset), forget, way.method, way.params, seed)
    part = applying.Part(dataset.splits.train, np.sort(forget), dataset.splits.heldout, np.empty(0, np.int64))
    done = applying.apply(model, dataset, run, part, replace(declared, run=recorded))
    look(done.model)
    return states


def at_levels(states, reader):
    """Measures [L, M] where the path first falls to each of LEVELS; NaN rows where it never does."""
    found = np.full((len(LEVELS), len(MEASURES)), np.nan)
    for row, level in enumerate(LEVELS):
        k = next((k for k, (accuracy, _) in enumerate(states) if accuracy <= level), None)
        if k is None:
            continue
        found[row] = reader.measure(states[k][1])
        if k and states[k - 1][0] > level > states[k][0]:
            share = (states[k - 1][0] - level) / (states[k - 1][0] - states[k][0])
            found[row] += (1 - share) * (reader.measure(states[k - 1][1]) - found[row])
    return found


def interval(values):
    """Mean and half-width of a 95 % t interval as text; "–" with fewer than two."""
    from scipy.stats import t

    values = values[np.isfinite(values)]
    if len(values) < 2:
        return "–"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.3f} ± {half:.3f}"


def meaning(name, seeds):
    """Correlation of the texts' class-to-class similarities with the model's own, mean over models, and the share of permuted texts above it."""
    dataset = bench(name, 0)[0]
    texts = text_anchors(name, dataset.class_names).embeddings
    above = np.triu_indices(len(texts), 1)
    own = []
    for seed in seeds:
        dataset, model, _ = bench(name, seed)
        train = dataset.splits.train
        features = training.read(model, dataset.inputs, DEVICE).features[train]
        own.append(similarity.class_relations(features, dataset.labels[train], np.arange(len(texts)))[above])
    rng = np.random.default_rng(0)
    fit = lambda order: np.mean([np.corrcoef((texts[order] @ texts[order].T)[above], o)[0, 1] for o in own])  # noqa: E731
    plain = fit(np.arange(len(texts)))
    return plain, np.mean([fit(rng.permutation(len(texts))) >= plain for _ in range(999)])


def measured(title, seed):
    """Measures [L, M] of every way on a set with one seed."""
    name, count, kind = SETS[title]
    dataset, model, _ = bench(name, seed)
    forget = forget_set(dataset, model, count, kind, seed)
    reader = Reader(dataset, model, forget)
    return {way: at_levels(path(declared, name, seed, forget), reader) for way, declared in WAYS.items()}


def table(found):
    """Markdown tables of {set: {way: [seeds, L, M]}}: where every way stands at each level, and its paired differences to BASE."""
    head = f"| {' | '.join(MEASURES)} |\n|{'---|' * (4 + len(MEASURES))}"
    plain, paired = (
        ["| set | forget accuracy | method | seeds that got there " + head],
        ["| set | forget accuracy | method | seeds " + head],
    )
    for title, by_way in found.items():
        for row, level in enumerate(LEVELS):
            for way, values in by_way.items():
                cells = values[:, row]
                start = f"| {title} | {level:.0%} | {way} |"
                plain.append(f"{start} {np.isfinite(cells[:, 0]).sum()}/{len(cells)} | {' | '.join(map(interval, cells.T))} |")
                gaps = cells - by_way[BASE][:, row]
                if way != BASE and np.isfinite(gaps[:, 0]).sum() > 1:
                    paired.append(f"{start} {np.isfinite(gaps[:, 0]).sum()} | {' | '.join(map(interval, gaps.T))} |")
    return "\n".join([*plain, f"\nPaired differences to {BASE}\n", *paired])


def main(seeds=SEEDS, first=0, wanted=tuple(SETS)):
    found = {}
    for title in wanted:
        rounds = []
        for seed in range(first, first + seeds):
            rounds.append(measured(title, seed))
            print(f"{title}, seed {seed} done", file=sys.stderr, flush=True)
        found[title] = {way: np.stack([each[way] for each in rounds]) for way in WAYS}
    print(f"{hardware()}; {seeds} seeds from {first}\n\n{table(found)}")
    for name in dict.fromkeys(SETS[title][0] for title in wanted):
        plain, chance = meaning(name, range(first, first + seeds))
        print(
            f"\n{name}: the texts' class similarities correlate {plain:.2f} with the models' own; {chance:.0%} of permuted texts do as well."
        )


if __name__ == "__main__":
    settle()
    main(*map(int, sys.argv[1:3]), **({"wanted": tuple(sys.argv[3:])} if len(sys.argv) > 3 else {}))
