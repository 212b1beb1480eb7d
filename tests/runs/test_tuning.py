"""The search for α: what it looks at and what not, what it finds, what it costs, and that it can be stopped."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from unlearn_core import data, methods, models
from unlearn_core.__main__ import main
from unlearn_core.data.base import Dataset, Splits
from unlearn_core.errors import BadInput, Cancelled
from unlearn_core.models import storage, training
from unlearn_core.params import TRIALS, Param
from unlearn_core.runs import api, applying, tuning
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import AuditSpec, RunSpec
from unlearn_core.runs.store import Store

ALPHA = Param("alpha", "float", 0.5, "", 0.05, 0.95)
FAKE = replace(methods.info("neggrad_plus"), name="fake", needs=(), params=(ALPHA,))


# the objective --------------------------------------------------------------------------------------------


def test_the_distance_of_confidences_is_what_the_sorted_lists_say():
    # sorted: .1 .5 .9 against .2 .4 .4, so (.1 + .1 + .5) / 3
    assert tuning.apart(np.array([0.9, 0.1, 0.5]), np.array([0.4, 0.2, 0.4])) == pytest.approx(0.7 / 3)
    assert tuning.apart(np.array([0.3, 0.6]), np.array([0.6, 0.3])) == 0.0


def data_of(inputs, labels, modality="points", **rest):
    none = np.arange(0)
    return Dataset("moons", {}, modality, inputs, labels, ("a", "b", "c"), Splits(np.arange(len(labels)), none, none, none, none), **rest)


def by_loops(inputs, labels, retain, ids):
    """The vote of neighbours with plain loops; all retained instances vote and set the width."""
    many = range(len(inputs[0]))
    middle = [sum(inputs[r][j] for r in retain) / len(retain) for j in many]
    spread = [math.sqrt(sum((inputs[r][j] - middle[j]) ** 2 for r in retain) / len(retain)) or 1.0 for j in many]

    def away(a, b):
        return sum(((inputs[a][j] - inputs[b][j]) / spread[j]) ** 2 for j in many)

    def vote(who, voters, width, doubt, label):
        nearest = min(away(who, v) for v in voters)
        weights = {v: math.exp(-(away(who, v) - nearest) / width) for v in voters}
        share = sum(w for v, w in weights.items() if labels[v] == label) / sum(weights.values())
        return (1 - doubt) * share + doubt * sum(labels[r] == label for r in retain) / len(retain)

    def others(r):
        return [v for v in retain if v != r]

    near = sorted(sorted(away(r, v) for v in others(r))[tuning.NEAR - 1] for r in retain)
    scale = (near[(len(near) - 1) // 2] + near[len(near) // 2]) / 2
    choices = [(width * scale, doubt) for width in tuning.WIDTHS for doubt in tuning.DOUBTS]
    best = max(choices, key=lambda c: sum(math.log(vote(r, others(r), *c, labels[r])) for r in retain))
    classes = sorted(set(labels))
    right = sum(max(classes, key=lambda c: vote(r, others(r), *best, c)) == labels[r] for r in retain) / len(retain)
    return [vote(i, list(retain), *best, labels[i]) for i in ids], right


@pytest.mark.parametrize("noise", [0.2, 1.5])
def test_the_vote_of_neighbours_is_the_one_that_loops_compute(noise):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 26)
    inputs = np.c_[labels + noise * rng.normal(size=26), 40 * rng.normal(size=26), np.ones(26)].astype(np.float32)
    retain, ids = np.arange(2, 22), np.array([0, 23, 24, 25])
    found, accuracy = tuning.expected(data_of(inputs, labels), retain, ids, 0)
    wanted, right = by_loops(inputs.astype(float).tolist(), labels.tolist(), retain.tolist(), ids.tolist())
    assert found == pytest.approx(wanted, abs=1e-6) and accuracy == pytest.approx(right)


def test_the_vote_knows_wrong_labels_and_coin_tosses():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    apart = (6 * labels[:, None] + rng.normal(size=(400, 2))).astype(np.float32)
    wrong = labels.copy()
    wrong[:20] = 1 - wrong[:20]
    found, accuracy = tuning.expected(data_of(apart, wrong), np.arange(40, 400), np.arange(40), 0)
    assert found[:20].max() < 0.1 and found[20:].min() > 0.9 and accuracy > 0.98
    noise = rng.normal(size=(400, 2)).astype(np.float32)
    tossed = (rng.random(400) < 0.2).astype(int)
    found, _ = tuning.expected(data_of(noise, tossed), np.arange(40, 400), np.arange(40), 0)
    own = found[tossed[:40] == 0]
    assert abs(own.mean() - 0.8) < 0.1 and own.max() < 0.97  # no one is sure of the outcome of a toss


def test_places_of_every_kind_of_data():
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    assert tuning.places(data_of(images, np.zeros(2, int), "image"), np.array([1])).tolist() == [[4, 5, 6, 7]]
    table = data_of(np.array([[1, 2.5], [0, 3.5], [2, 0]], np.float32), np.zeros(3, int), "tabular", categories=(("x", "y", "z"), ()))
    assert tuning.places(table, np.array([0, 2])).tolist() == [[0, 1, 0, 2.5], [0, 0, 1, 0]]
    words = data_of(np.array([[7, 5, 7, 0], [5, 7, 7, 0], [9, 0, 0, 0]], np.int32), np.zeros(3, int), "text", vocabulary=10)
    found = tuning.places(words, np.arange(3))
    assert found[0].tolist() == found[1].tolist() and found[0] @ found[2] == 0 and (found[:, 0] == 0).all()
    assert found[0, [5, 7]] == pytest.approx(np.array([1, 2]) / math.sqrt(5))


def test_a_vote_among_few_or_equal_instances_is_still_a_number():
    for inputs in (np.zeros((12, 3), np.float32), np.arange(24, dtype=np.float32).reshape(12, 2)):
        for retain in (np.arange(2), np.arange(10)):
            found, accuracy = tuning.expected(data_of(inputs, np.array([0, 1] * 5 + [2, 0])), retain, np.array([10, 11]), 0)
            assert np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all() and 0 <= accuracy <= 1


def trials(*rows):
    return [tuning.Trial(a, score, score, 0.0, tuned, 1.0) for a, score, tuned in rows]


@pytest.mark.parametrize(
    ("goal", "rows", "best"),
    [
        ("undo", [(0.1, 0.30, 0), (0.5, 0.20, 0), (0.9, 0.10, 0)], 2),
        ("undo", [(0.1, 0.30, 0), (0.5, 0.1049, 0), (0.9, 0.10, 0)], 1),  # equal, so the usual value stays
        ("undo", [(0.1, 0.30, 0), (0.5, 0.1051, 0), (0.9, 0.10, 0)], 2),
        ("undo", [(0.1, 0.10, 0), (0.5, None, None), (0.9, 0.20, 0)], 0),
        ("undo", [(0.1, None, None), (0.4, None, None), (0.9, None, None)], 1),
        ("misclassify", [(0.1, 0.5, 0.0), (0.5, 0.0, 0.03), (0.9, 0.0, 0.0)], 1),  # the smallest that reaches the lowest
        ("misclassify", [(0.1, 0.5, 0.0), (0.5, 0.2, 0.03), (0.9, 0.0, 0.04)], 1),  # the lowest costs too much
        ("misclassify", [(0.1, 0.5, 0.2), (0.5, 0.0, 0.1), (0.9, 0.0, 0.1)], 1),  # all cost too much
    ],
)
def test_the_rule(goal, rows, best):
    assert tuning.pick(trials(*rows), goal, 0.5) == best


# what it finds --------------------------------------------------------------------------------------------


@pytest.fixture
def tossed(small):
    """Labels that inputs say nothing of, 80 % of them 0; a constant model, and a request to forget 30 instances of label 0."""
    rng = np.random.default_rng(1)
    labels, ids = (rng.random(500) >= 0.8).astype(np.int64), np.arange(500)
    splits = Splits(ids[:400], ids[400:460], ids[460:470], ids[470:490], ids[490:])
    dataset = Dataset("moons", {}, "points", rng.normal(size=(500, 2)).astype(np.float32), labels, ("a", "b"), splits)
    model = training.fresh(models.info("softmax"), dataset, {}, 0, "cpu")
    spec = replace(api.request(small, small.ids[:3], "nabla_tau"), params={"alpha": "search"})
    return model, dataset, spec, applying.Part(splits.train, ids[:400][labels[:400] == 0][:30], splits.heldout, ids[:0])


def constant(task):
    """A model that says 0 with probability α whatever it sees."""
    import torch

    alpha = task.params["alpha"]
    with torch.no_grad():
        task.model.head.weight.zero_()
        task.model.head.bias.copy_(torch.tensor([math.log(alpha), math.log(1 - alpha)]))
    return task.model


def search(tossed, declared, reporter=None):
    model, dataset, spec, part = tossed
    return tuning.apply(model, dataset, spec, part, declared, reporter or Reporter(), 0.0, 1.0)


def test_a_planted_truth_is_found(tossed):
    found = search(tossed, replace(FAKE, run=constant))
    assert [t["alpha"] for t in found.chosen["search"]["trials"]] == pytest.approx([0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
    assert found.chosen["alpha"] == pytest.approx(0.8)
    distance = [t["forget"] for t in found.chosen["search"]["trials"]]
    assert distance == sorted(distance[:5], reverse=True) + distance[5:] and distance[5] == min(distance)
    logits = training.predict(found.model, tossed[1].inputs[:5], "cpu")
    assert np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1) == pytest.approx(0.8)


def test_lost_accuracy_counts_as_much_as_it_is(tossed):
    model, dataset, spec, part = tossed
    half = replace(FAKE, run=constant)
    with_loss = search((constant_of(model, 0.9), dataset, spec, part), half).chosen["search"]["trials"]
    retained = dataset.labels[np.setdiff1d(dataset.splits.train, part.forget)]
    lost = [max(0.0, (labels == 0).mean() - (labels == 1).mean()) for labels in (retained, dataset.labels[dataset.splits.tuning])]
    assert [with_loss[0][name] for name in ("retain", "tuning")] == pytest.approx(lost)  # at α = 0.05 all are called 1
    assert with_loss[0]["score"] == pytest.approx(with_loss[0]["forget"] + sum(lost))
    assert with_loss[5]["retain"] == with_loss[5]["tuning"] == 0.0


def constant_of(model, alpha):
    from types import SimpleNamespace

    return constant(SimpleNamespace(params={"alpha": alpha}, model=model))


def test_values_that_break_the_model_are_never_chosen(tossed):
    def broken(task):
        task.model.head.bias.data.fill_(float("nan"))
        return task.model

    some = replace(FAKE, run=lambda task: broken(task) if task.params["alpha"] > 0.7 else constant(task))
    found = search(tossed, some)
    assert found.chosen["alpha"] == pytest.approx(0.65)
    assert [t["score"] is None for t in found.chosen["search"]["trials"]] == [False] * 5 + [True] * 2
    assert json.dumps(found.chosen, allow_nan=False) and "–" in tuning.table(found.chosen["search"])
    nothing = search(tossed, replace(FAKE, run=broken))
    assert nothing.chosen["alpha"] == 0.5 and nothing.chosen["search"]["trials"][3]["score"] is None


def test_values_that_diverge_are_never_chosen(tossed):
    def diverges(task):
        rows = iter([(task.forget,)])
        bad = lambda ids: task.model(task.x[ids]).sum() * float("inf")  # noqa: E731
        training.optimise(task.model, 1, lambda epoch: rows, bad, training.adamw(task.model, 0.1))

    some = replace(FAKE, run=lambda task: diverges(task) if task.params["alpha"] > 0.7 else constant(task))
    found = search(tossed, some)
    assert found.chosen["alpha"] == pytest.approx(0.65)
    assert [t["score"] is None for t in found.chosen["search"]["trials"]] == [False] * 5 + [True] * 2
    with pytest.raises(BadInput, match="no finite number"):
        search(tossed, replace(FAKE, run=diverges))


def test_getting_instances_wrong_is_searched_for_by_its_own_rule(tossed):
    found = search((constant_of(tossed[0], 0.4), *tossed[1:]), replace(FAKE, run=constant, goal="misclassify"))
    kept = found.chosen["search"]
    # Up to 0.35 all forgotten instances are called 1, which costs nothing, since the model before did the same.
    assert found.chosen["alpha"] == ALPHA.trials[0] and [t["score"] for t in kept["trials"]] == [0, 0, 0, 1, 1, 1, 1]
    assert kept["rule"] == tuning.RULES["misclassify"] and kept["vote"] is None


def test_a_vote_that_is_no_guide_is_said_to_be_none(tossed, monkeypatch):
    monkeypatch.setattr(tuning, "expected", lambda *given: (np.full(30, 0.8), 0.3))
    model, dataset, spec, part = tossed
    found = search((constant_of(model, 0.9), dataset, spec, part), replace(FAKE, run=constant))
    assert any("right for 30% of retained instances only" in note for note in found.notes)


# what it looks at -----------------------------------------------------------------------------------------


def looked(small, dataset, method, forget, seed=0):
    """What the search on the stored small original finds with these data."""
    spec = api.request(small, forget, method, {"alpha": "search"}, seed)
    model = storage.load(small.folder / "model.safetensors", models.info("mlp"), dataset, small.spec.model_params, "cpu")
    part = applying.Part.of(spec, dataset.splits.train, dataset.splits.heldout)
    found = tuning.apply(model, dataset, spec, part, methods.info(method), Reporter(), 0.0, 1.0)
    return found.chosen["alpha"], [{k: v for k, v in t.items() if k != "seconds"} for t in found.chosen["search"]["trials"]]


def poisoned(dataset, *names):
    """The data with nothing but NaN and wrong labels in some splits."""
    inputs, labels = dataset.inputs.copy(), dataset.labels.copy()
    for name in names:
        ids = getattr(dataset.splits, name)
        inputs[ids], labels[ids] = np.nan, 1 - labels[ids]
    return replace(dataset, inputs=inputs, labels=labels)


@pytest.mark.parametrize(
    ("method", "unread"),
    [
        ("neggrad_plus", ("test", "population", "heldout")),
        ("influence", ("test", "population", "heldout")),
        ("nabla_tau", ("test", "population")),  # its own objective has the held-out loss
    ],
)
def test_no_split_is_read_that_must_not_be(small, monkeypatch, method, unread):
    def never(*given, **rest):
        raise AssertionError("a search trains no model of its own")

    monkeypatch.setattr(training, "train", never)
    dataset = data.load(small.spec.dataset, small.spec.dataset_params)
    forget = small.meta["planted"]["mislabelled"]
    clean = looked(small, dataset, method, forget)
    assert looked(small, poisoned(dataset, *unread), method, forget) == clean


def test_poison_in_a_split_that_is_read_is_noticed(small):
    dataset = data.load(small.spec.dataset, small.spec.dataset_params)
    forget = small.meta["planted"]["mislabelled"]
    clean = looked(small, dataset, "influence", forget)
    assert looked(small, poisoned(dataset, "tuning"), "influence", forget) != clean


def test_the_same_seed_finds_the_same(small):
    dataset = data.load(small.spec.dataset, small.spec.dataset_params)
    first, again, other = (looked(small, dataset, "neggrad_plus", small.ids[:12], seed) for seed in (4, 4, 5))
    assert first == again and first[1] != other[1]


# as a run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(store, small):
    """A run with a searched α."""
    spec = api.request(small, small.meta["planted"]["mislabelled"], "neggrad_plus", {"alpha": "search"}, retrains=0)
    Pipeline(store).unlearn(spec, Reporter())
    return api.load_run(store, spec.key)


def test_the_outcome_is_what_the_chosen_value_gives_by_hand(store, small, found):
    value = found.chosen["alpha"]
    by_hand = api.request(small, found.spec.forget, "neggrad_plus", {"alpha": value}, retrains=0)
    Pipeline(store).unlearn(by_hand, Reporter())
    one, two = (load_file(api.load_run(store, key).model_path) for key in (found.key, by_hand.key))
    assert by_hand.key != found.key and one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


def test_the_spec_says_that_it_was_searched_and_the_run_what_was_found(small, found):
    assert found.spec.params["alpha"] == "search" and found.spec.evidence["search"] == tuning.VERSION
    assert RunSpec.from_dict(found.spec.to_dict()).key == found.key
    plain = api.request(small, found.spec.forget, "neggrad_plus", retrains=0)
    assert plain.key != found.key and "search" not in plain.evidence
    kept = found.chosen["search"]
    assert len(kept["trials"]) == TRIALS and kept["trials"][kept["best"]]["alpha"] == found.chosen["alpha"]
    assert any(f"short search over {TRIALS} values" in note for note in found.notes)


def test_the_whole_search_is_in_the_time_of_the_method(found):
    kept = found.chosen["search"]
    assert found.timings["method"] == kept["seconds"] >= sum(trial["seconds"] for trial in kept["trials"]) > 0
    assert all(trial["seconds"] > 0 for trial in kept["trials"])
    assert found.measure("utility.seconds.method").unlearned == pytest.approx(kept["seconds"])


class StopAt(Reporter):
    """Remembers all stages; raises Cancelled when one has begun and goes on."""

    def __init__(self, name):
        self.name, self.seen = name, []

    def show(self, stage, fraction, curves):
        self.seen.append((stage, fraction))
        if stage == self.name and self.seen.count((stage, fraction)) == 1 and len([s for s, _ in self.seen if s == stage]) > 1:
            raise Cancelled


def test_a_search_can_be_cancelled_and_says_where_it_is(store, small):
    spec = api.request(small, small.ids[:9], "neggrad_plus", {"alpha": "search"}, retrains=0)
    reporter = StopAt("trying α = 0.933 (3 of 7)")
    with pytest.raises(Cancelled):
        Pipeline(store).unlearn(spec, reporter)
    assert api.load_run(store, spec.key) is None
    stages = list(dict.fromkeys(stage for stage, _ in reporter.seen if stage.startswith("trying")))
    assert stages == ["trying α = 0.9 (1 of 7)", "trying α = 0.917 (2 of 7)", "trying α = 0.933 (3 of 7)"]
    told = [fraction for stage, fraction in reporter.seen if stage.startswith("trying")]
    assert told == sorted(told) and told[0] >= 0.1 and told[-1] <= 0.1 + 0.6 * 3 / 7 + 1e-9


def test_shadows_are_unlearned_with_the_value_that_was_found(tmp_path, store, small, found, monkeypatch):
    import shutil

    own = Store(tmp_path)
    for kind, key in (("originals", small.key), ("runs", found.key)):
        shutil.copytree(store.place(kind, key), own.place(kind, key))
    asked, actual = [], applying.apply
    monkeypatch.setattr(
        applying, "apply", lambda model, data, spec, *rest: asked.append(spec.params["alpha"]) or actual(model, data, spec, *rest)
    )
    Pipeline(own).audit(AuditSpec(found.spec, api.pool_spec(small, 8), True), Reporter())
    assert len(asked) > 1 and set(asked) == {found.chosen["alpha"]}
    plain = api.request(small, found.spec.forget, "neggrad_plus")
    assert tuning.settled(plain, own) is plain


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("finetune", {"alpha": "search"}, "finetune has no strength control"),
        ("nabla_tau", {"passes": "search"}, "passes: 'search' is not a number"),
        ("nabla_tau", {"alpha": "serach"}, 'from 0 to 0.95 or "auto" or "search"'),
    ],
)
def test_what_cannot_be_searched_is_refused(small, method, params, message):
    with pytest.raises(BadInput, match=message):
        api.request(small, small.ids[:3], method, params)


SMALL = [
    "--dataset=moons",
    "--dataset-param=instances=160",
    "--dataset-param=mislabelled=0.1",
    "--model-param=width=12",
    "--model-param=epochs=40",
]


def tune(capsys, store, *rest):
    status = main(["tune", *SMALL, "--store", str(store.folder), "--device", "cpu", *rest])
    return status, *capsys.readouterr()


def test_the_command_prints_the_trials_and_the_value(capsys, store, found):
    ids = "ids:" + ",".join(map(str, found.spec.forget))
    status, out, _ = tune(capsys, store, "--forget", ids, "--method", "neggrad_plus")
    rows = out.splitlines()
    assert status == 0 and len([row for row in rows if row.startswith(">")]) == 1
    assert [float(row[1:].split()[0]) for row in rows[1 : 1 + TRIALS]] == pytest.approx(
        [t["alpha"] for t in found.chosen["search"]["trials"]], 1e-3
    )
    assert rows[-1].startswith(f"α = {found.chosen['alpha']:g} in ") and tuning.RULES["undo"] in rows[-1]
    status, out, _ = tune(capsys, store, "--forget", ids, "--method", "neggrad_plus", "--json")
    assert status == 0 and json.loads(out) == found.chosen["search"]  # the stored run, nothing computed anew
    status, out, err = tune(capsys, store, "--forget", ids, "--method", "finetune")
    assert status == 2 and not out and "finetune has no strength control" in err
