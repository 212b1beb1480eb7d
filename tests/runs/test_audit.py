"""Audits of stored runs by a shadow pool: what is computed, from which models, once; and their way through the queue."""

import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from unlearn_core import data, evidence, models, seeds
from unlearn_core.errors import BadInput, Cancelled, Preempted
from unlearn_core.evidence.shadows import EVIDENCE
from unlearn_core.models import ensemble, storage, training
from unlearn_core.models.pool import CHOOSE, JUDGE
from unlearn_core.runs import api, applying, originals, pools, worker
from unlearn_core.runs.pipeline import Pipeline
from unlearn_core.runs.progress import Reporter
from unlearn_core.runs.spec import AuditSpec, OriginalSpec, PoolSpec
from unlearn_core.runs.store import BACKGROUND, URGENT, Store

MEMBERS = 16
ORIGINAL = OriginalSpec.make("moons", "mlp", {"instances": 160, "mislabelled": 0.1}, {"width": 8, "epochs": 8})
DATASET = data.load("moons", ORIGINAL.dataset_params)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with a run of fine-tuning, its eight retrained models, a pool, and both audits; only read."""
    store = Store(tmp_path_factory.mktemp("audit"))
    found = originals.prepare(store, ORIGINAL, Reporter())
    pool = api.pool_spec(found, MEMBERS)
    saw = pools.training_ids(pool, DATASET, JUDGE)
    seen = {int(i): np.array([i in ids for ids in saw], int) for i in found.ids}
    # Some judges saw neither of the two, some one, some both.
    forget = next(pair for pair in combinations(seen, 2) if np.bincount(seen[pair[0]] + seen[pair[1]], minlength=3).all())
    run = api.request(found, forget, "finetune", {"epochs": 1}, retrains=8)
    pipe = Pipeline(store)
    pipe.unlearn(run, Reporter())
    pipe.add_retrained(run, Reporter())
    api.record_done(store, run)
    for u_lira in (False, True):
        pipe.audit(AuditSpec(run, pool, u_lira), Reporter())
    return store, AuditSpec(run, pool, True)


@pytest.fixture
def own(filled, tmp_path):
    """A copy of that store without audits, to be changed; and the spec of the audit."""
    store = Store(tmp_path / "own")
    for kind in ("originals", "runs", "retrained", "pools", "shadows"):
        shutil.copytree(filled[0].folder / kind, store.folder / kind)
    api.record_done(store, filled[1].run)
    return store, filled[1]


@pytest.fixture
def applied(monkeypatch):
    """Every call of the method: the model's weights, the part, the spec."""
    found, actual = [], applying.apply

    def spy(model, dataset, spec, part, *rest):
        found.append(({name: value.clone() for name, value in model.state_dict().items()}, part, spec))
        return actual(model, dataset, spec, part, *rest)

    monkeypatch.setattr(applying, "apply", spy)
    return found


def without_pool(store):
    for kind in ("pools", "shadows"):
        shutil.rmtree(store.folder / kind)


def numbers(audit):
    return [m.to_dict() for m in audit.measures]


# what is stored ----------------------------------------------------------------------------------------------


def test_an_audit_fills_in_what_the_run_lacks(filled):
    store, spec = filled
    run, audit = api.load_run(store, spec.run.key), api.load_audit(store, spec)
    assert all(m.unlearned is None and m.reason for m in run.measures if m.family.startswith("shadows."))
    both = api.audited(run, audit)
    assert [m.id for m in both.measures] == [m.id for m in run.measures] and audit.retrained == 8
    told = {m.family: m for m in both.measures if m.family.startswith("shadows.")}
    assert sorted(told) == sorted(d.id for d in EVIDENCE.definitions)
    for name in ("lira_online", "lira_offline", "rmia_online", "rmia_offline", "u_lira", "u_lira_retrain", "looks_forgotten"):
        assert 0 <= told[f"shadows.{name}"].unlearned <= 1, name
    assert told["shadows.forgetting_quality"].unlearned is not None
    assert {"shadow_instances", "shadow_roc", "shadow_check"} <= both.views.keys() and run.views.keys() <= both.views.keys()
    assert both.views["shadow_instances"]["ids"].tolist() == list(spec.run.forget)


def test_a_run_of_an_earlier_version_gets_the_measures_too(filled):
    store, spec = filled
    run = api.load_run(store, spec.run.key)
    old = replace(run, measures=[m for m in run.measures if not m.family.startswith("shadows.")])
    both = api.audited(old, api.load_audit(store, spec))
    assert {m.id for m in both.measures} == {m.id for m in run.measures} and both.family("shadows.lira_online")[0].unlearned is not None


def test_the_keys(filled):
    _, spec = filled
    other = replace(spec, u_lira=False)
    assert spec.key.startswith(f"{spec.run.key}-") and other.key.startswith(f"{spec.run.key}-")
    different = [other, replace(spec, pool=replace(spec.pool, members=32)), replace(spec, run=replace(spec.run, seed=9))]
    assert len({spec.key, *(one.key for one in different)}) == 4
    assert AuditSpec.from_dict(spec.to_dict()) == spec and AuditSpec.from_dict(spec.to_dict()).key == spec.key


def test_an_audit_is_computed_once(filled, monkeypatch, applied):
    store, spec = filled
    recipe = {"dataset_params": ORIGINAL.dataset_params, "model_params": ORIGINAL.model_params}
    given = {**recipe, "params": {"epochs": 1}, "retrains": 8, "pool": MEMBERS, "device": "cpu", "store": store}
    monkeypatch.setattr(training, "optimise", None)
    monkeypatch.setattr(ensemble, "train_many", None)
    monkeypatch.setattr(evidence, "compute", None)
    for u_lira in (True, False):
        run = api.run("moons", list(spec.run.forget), "finetune", "mlp", u_lira=u_lira, **given)
        assert run.key == spec.run.key and run.measure("shadows.lira_online.forget").unlearned is not None
        assert (run.measure("shadows.u_lira.forget").unlearned is not None) == u_lira
        assert api.submit_audit(store, replace(spec, u_lira=u_lira)) is None
    assert api.submit_pool(store, spec.pool) is None and not applied and not store.jobs("pool", "audit")


@pytest.mark.parametrize("fresh", [False, True])
def test_two_audits_agree(filled, own, fresh):
    """Also with a pool that is trained anew, up to what training together or alone changes."""
    store, spec = own
    if fresh:
        without_pool(store)
    Pipeline(store).audit(spec, Reporter())
    one, two = numbers(api.load_audit(filled[0], spec)), numbers(api.load_audit(store, spec))
    if not fresh:
        assert one == two
    assert [m["id"] for m in one] == [m["id"] for m in two]


def test_an_audit_goes_with_its_run_and_the_pool_stays(own):
    store, spec = own
    Pipeline(store).audit(spec, Reporter())
    api.submit_audit(store, replace(spec, u_lira=False))
    waiting = api.submit_audit(store, replace(spec, run=replace(spec.run, seed=9)))
    api.delete_run(store, spec.run.key)
    assert api.load_run(store, spec.run.key) is None and api.load_audit(store, spec) is None
    assert not list((store.folder / "audits").iterdir()) and not list((store.folder / "retrained").iterdir())
    assert [job.key for job in store.jobs("audit")] == [waiting.key]  # an audit of nothing would only fail
    assert pools.load(store, spec.pool.key) and len(list((store.folder / "shadows").iterdir())) == MEMBERS


# who judges --------------------------------------------------------------------------------------------------


def test_the_judging_half_alone_judges(own, monkeypatch):
    store, spec = own
    opened, given = [], []
    load, read, compute = np.load, storage.load, evidence.compute
    monkeypatch.setattr(np, "load", lambda path, **rest: opened.append(str(path)) or load(path, **rest))
    monkeypatch.setattr(storage, "load", lambda path, *rest: opened.append(str(path)) or read(path, *rest))
    monkeypatch.setattr(evidence, "compute", lambda name, subject: given.append((name, subject)) or compute(name, subject))
    for k in range(MEMBERS // 2):
        shutil.rmtree(store.place("shadows", spec.pool.member_key(CHOOSE, k)))
    Pipeline(store).audit(spec, Reporter())
    members = [path for path in opened if "/shadows/" in path]
    assert members and all(f"-{JUDGE}-" in path for path in members)
    ((name, subject),) = given
    wanted = pools.shadows(store, spec.pool, DATASET, JUDGE)
    assert name == "shadows" and np.array_equal(subject.shadows.logits, wanted.logits) and np.array_equal(subject.shadows.keep, wanted.keep)
    assert not subject.shadows.keep[:, DATASET.splits.population].any()
    assert np.array_equal(subject.forget, spec.run.forget) and len(subject.retrained) == 8


def test_u_lira_forgets_what_each_shadow_saw_with_what_it_knew(own, applied):
    store, spec = own
    Pipeline(store).audit(spec, Reporter())
    forget = np.array(spec.run.forget)
    saw = pools.training_ids(spec.pool, DATASET, JUDGE)
    asked = [ids for ids in saw if np.isin(forget, ids).any()]
    assert 0 < len(asked) < len(saw)  # both kinds are there, or this test shows nothing
    shadows, again = applied[: len(asked)], applied[len(asked) :]
    folders = [folder for folder, ids in zip(pools.folders(store, spec.pool, JUDGE), saw, strict=True) if np.isin(forget, ids).any()]
    for (weights, part, run), ids, folder in zip(shadows, asked, folders, strict=True):
        assert np.array_equal(part.train, ids) and np.array_equal(part.forget, np.intersect1d(ids, forget))
        assert np.isin(part.retain, ids).all() and not np.isin(part.retain, forget).any()
        assert not np.isin(part.heldout, np.concatenate([ids, forget, DATASET.splits.population])).any()
        assert len(part.heldout) == len(DATASET.splits.heldout) == len(set(part.heldout.tolist()))
        mine = storage.load(folder / "model.safetensors", models.info("mlp"), DATASET, ORIGINAL.model_params, "cpu").state_dict()
        assert all((weights[name] == mine[name]).all() for name in mine)
        assert replace(run, seed=spec.run.seed) == spec.run
    # The original once more, as often as half of the retrained models, with the parts of the run.
    original = storage.load(
        store.place("originals", ORIGINAL.key) / "model.safetensors", models.info("mlp"), DATASET, ORIGINAL.model_params, "cpu"
    ).state_dict()
    assert len(again) == 4
    for weights, part, run in again:
        assert np.array_equal(part.train, DATASET.splits.train) and np.array_equal(part.forget, forget)
        assert np.array_equal(part.heldout, DATASET.splits.heldout) and replace(run, seed=spec.run.seed) == spec.run
        assert all((weights[name] == original[name]).all() for name in original)


def test_a_method_is_never_given_what_it_shall_forget_as_held_out(own, applied):
    """Also without any retrained models, whose lack is said and stops nothing."""
    store, spec = own
    many = api.request(originals.load(store, ORIGINAL.key), DATASET.splits.train[:40], "finetune", {"epochs": 1}, retrains=0)
    pipe = Pipeline(store)
    pipe.unlearn(many, Reporter())
    applied.clear()
    pipe.audit(AuditSpec(many, spec.pool, True), Reporter())
    assert len(applied) == MEMBERS // 2
    assert all(len(part.heldout) and not np.isin(part.heldout, many.forget).any() for _, part, _ in applied)
    assert api.load_audit(store, AuditSpec(many, spec.pool, True)).views["shadow_check"]["text"].item().startswith("Not checked")


def test_no_two_runs_of_the_method_share_a_seed(own, applied):
    """Shadows retrained from one and the same first weights would be told from the pool by these, not by what they forgot."""
    store, spec = own
    Pipeline(store).audit(spec, Reporter())
    used = [seeds.derive("method", run.seed) for *_, run in applied]
    assert len(set(used)) == len(used) and seeds.derive("method", spec.run.seed) not in used


def test_a_shadow_that_saw_none_of_them_stays_as_it_is(own, monkeypatch):
    store, spec = own
    given, compute = [], evidence.compute
    monkeypatch.setattr(evidence, "compute", lambda name, subject: given.append(subject.shadows) or compute(name, subject))
    Pipeline(store).audit(spec, Reporter())
    (half,) = given
    touched = half.keep[:, list(spec.run.forget)].any(axis=1)
    assert touched.any() and not touched.all()
    assert np.array_equal(half.unlearned[~touched], half.logits[~touched])
    assert all((one != two).any() for one, two in zip(half.unlearned[touched], half.logits[touched], strict=True))


def test_further_runs_of_the_method_are_not_made_where_they_could_say_nothing(own, applied):
    store, spec = own
    few = api.request(originals.load(store, ORIGINAL.key), spec.run.forget, "finetune", {"epochs": 1}, retrains=3)
    pipe = Pipeline(store)
    pipe.unlearn(few, Reporter())
    applied.clear()
    pipe.audit(AuditSpec(few, spec.pool, True), Reporter())
    assert applied and all(not np.array_equal(part.train, DATASET.splits.train) for _, part, _ in applied)
    quality = {m.family: m for m in api.load_audit(store, AuditSpec(few, spec.pool, True)).measures}["shadows.forgetting_quality"]
    assert quality.reason == "it needs 8 retrained models, there are 3"


# through the queue -------------------------------------------------------------------------------------------


def submit(store, spec, kind):
    return api.submit_pool(store, spec.pool) if kind == "pool" else api.submit_audit(store, spec)


def there(store, spec, kind):
    return pools.load(store, spec.pool.key) if kind == "pool" else api.load_audit(store, spec)


@pytest.mark.parametrize("kind", ["pool", "audit"])
def test_the_worker_does_both_kinds(own, kind):
    store, spec = own
    without_pool(store)
    job = submit(store, spec, kind)
    assert (job.kind, job.status, job.priority) == (kind, "queued", BACKGROUND) and job.title
    worker.work(store, Pipeline(store), store.claim(1))
    job = store.job(job.key)
    assert (job.status, job.fraction) == ("done", 1), job.details
    assert there(store, spec, kind) and submit(store, spec, kind) is None
    # Files that were removed by hand are computed again.
    shutil.rmtree(store.folder / f"{kind}s")
    assert submit(store, spec, kind).status == "queued"


@pytest.mark.parametrize("kind", ["pool", "audit"])
def test_a_persons_request_goes_first_and_the_job_is_finished_afterwards(own, monkeypatch, kind):
    store, spec = own
    without_pool(store)
    monkeypatch.setattr("unlearn_core.runs.progress.EVERY", 0.0)
    pipe, job = Pipeline(store), submit(store, spec, kind)
    train_many = ensemble.train_many

    def interrupted(*given):
        *before, keep, plan = given

        def found(place, model):
            keep(place, model)
            if place == 2:
                store.submit("urgent", "original", {}, priority=URGENT)

        return train_many(*before, found, replace(plan, way=replace(plan.way, chunk=4, lanes=1)))

    monkeypatch.setattr(ensemble, "train_many", interrupted)
    worker.work(store, pipe, store.claim(1))
    kept = {path.name for path in (store.folder / "shadows").iterdir()}
    assert store.job(job.key).status == "queued" and there(store, spec, kind) is None
    assert 3 <= len(kept) < MEMBERS
    assert store.claim(1).key == "urgent"
    store.finish("urgent", "done")
    rest = []
    monkeypatch.setattr(ensemble, "train_many", lambda *given: rest.append(len(given[3])) or train_many(*given))
    again = store.claim(1)
    assert (again.key, again.kind) == (job.key, kind)
    worker.work(store, pipe, again)
    assert store.job(job.key).status == "done" and there(store, spec, kind)
    assert rest == [MEMBERS - len(kept)]


class StopAt(Reporter):
    def __init__(self, stage, error):
        self.wanted, self.error = stage, error

    def show(self, stage, fraction, curves):
        if stage.startswith(self.wanted):
            raise self.error


@pytest.mark.parametrize("error", [Preempted, Cancelled])
@pytest.mark.parametrize(
    "stage", ["training 16 shadow models", "running the method on shadow 3", "running the method with seed", "attacking"]
)
def test_an_interrupted_audit_leaves_nothing_half_done(filled, own, stage, error):
    store, spec = own
    pipe = Pipeline(store)
    if stage.startswith("training"):
        without_pool(store)
    with pytest.raises(error):
        pipe.audit(spec, StopAt(stage, error))
    assert api.load_audit(store, spec) is None
    if not stage.startswith("training"):
        pipe.audit(spec, Reporter())
        assert numbers(api.load_audit(store, spec)) == numbers(api.load_audit(filled[0], spec))


def test_progress_of_a_finished_run_only_rises(own):
    store, spec = own
    without_pool(store)
    pipe, seen = Pipeline(store), []
    pipe.add_retrained(spec.run, Reporter())

    class Seen(Reporter):
        def show(self, stage, fraction, curves):
            assert not curves
            seen.append(fraction)

    pipe.audit(spec, Seen())
    assert np.diff(seen).min() > -1e-9 and seen[0] == 0 and seen[-1] == pytest.approx(0.95)


# bad requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [-2, 2, 7, 9, 514, 16.5, "many", True])
def test_a_pool_that_cannot_be_halved_is_refused(filled, members):
    store, spec = filled
    with pytest.raises(BadInput, match="^pool: "):
        api.pool_spec(originals.load(store, ORIGINAL.key), members)
    before = sorted(store.folder.rglob("*"))
    with pytest.raises(BadInput, match="^pool: "):
        api.run("wine", "random:3", "finetune", "softmax", pool=members, store=store, device="cpu")
    assert sorted(store.folder.rglob("*")) == before


@pytest.mark.parametrize(("field", "value"), [("universe", "some"), ("share", 0.0), ("share", 0.99), ("share", float("nan")), ("seed", -1)])
def test_other_fields_are_named_too(filled, field, value):
    with pytest.raises(BadInput, match=f"^{field}: "):
        PoolSpec.make(ORIGINAL, DATASET.hash, **{field: value})


def test_u_lira_without_a_pool_is_refused_before_anything_is_computed(filled):
    store, _ = filled
    before = sorted(store.folder.rglob("*"))
    with pytest.raises(BadInput, match="^u_lira: "):
        api.run("wine", "random:3", "finetune", "softmax", u_lira=True, store=store, device="cpu")
    assert sorted(store.folder.rglob("*")) == before
