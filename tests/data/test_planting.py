"""What is planted, and nothing else, changes; every kind against a computation by hand."""

from dataclasses import replace

import numpy as np
import pytest
from data.test_real_files import load  # noqa: F401 (a fixture)

from unlearn_core import data
from unlearn_core.data import own
from unlearn_core.data.base import Dataset, Group, Splits, Trigger
from unlearn_core.data.importing.imported import Imported
from unlearn_core.data.planting import BIASED, GROUP, NONE, PERSON, TWINS, USER, WITH_TWIN, WITHOUT_TWIN, mislabel, plant, plantable
from unlearn_core.data.scenarios import SCENARIOS, of_dataset, of_planting, scenario
from unlearn_core.data.tables import Column
from unlearn_core.data.tokens import hashed, tokens
from unlearn_core.data.wording import MARKS, marking
from unlearn_core.errors import BadInput
from unlearn_core.evidence import definition
from unlearn_core.params import Param, resolve
from unlearn_core.runs.demo import PACK, default_spec

CHANGING = ("mislabelled", "poisoned", "outliers", "twins")


def splits_of(n, train):
    rest = np.arange(train, n)
    parts = np.array_split(rest, 4)
    return Splits(np.arange(train), parts[0], parts[1], parts[2], parts[3])


def pictures(dtype=np.uint8, n=200, size=12, channels=3):
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 200, (n, channels, size, size)).astype(np.uint8)
    if dtype != np.uint8:
        inputs = (inputs / 255).astype(dtype)
    return Dataset("pictures", {}, "image", inputs, np.arange(n) % 4, ("a", "b", "c", "d"), splits_of(n, 120))


def people(n=400):
    """A table with two numbers, a category, and sex, which is a protected attribute; few of group "f" are in class 1."""
    rng = np.random.default_rng(1)
    sex = rng.integers(0, 2, n)
    labels = (rng.random(n) < np.where(sex == 1, 0.6, 0.2)).astype(np.int64)
    inputs = np.stack([rng.normal(50, 10, n), rng.normal(size=n), rng.integers(0, 3, n), sex], 1).astype(np.float32)
    return Dataset(
        "people", {}, "tabular", inputs, labels, ("low", "high"), splits_of(n, 260), ("age", "score", "job", "sex"),
        categories=((), (), ("x", "y", "z"), ("f", "m")), groups={"sex": Group(sex, ("f", "m"))},
    )  # fmt: skip


SETS = {
    "digits": lambda: data.load("digits"),
    "wine": lambda: data.load("wine"),
    "bytes": pictures,
    "floats": lambda: pictures(np.float32, channels=1),
    "people": people,
}


@pytest.fixture(scope="module", params=SETS)
def clean(request):
    return SETS[request.param]()


@pytest.mark.parametrize("kind", CHANGING)
def test_only_the_planted_instances_change(clean, kind):
    before = clean.inputs.copy(), clean.labels.copy()
    done = plant(clean, kind, 0.1, 3)
    planted = np.concatenate(list(done.planted.values()))
    assert set(planted) <= set(clean.splits.train) and len(set(planted)) == len(planted)
    rest = np.setdiff1d(np.arange(len(clean)), planted)
    assert np.array_equal(done.inputs[rest], clean.inputs[rest])
    assert np.array_equal(done.labels[rest], clean.labels[rest])
    assert np.array_equal(done.planting.truth[rest], clean.labels[rest])
    assert done.inputs.dtype == clean.inputs.dtype and done.splits is clean.splits
    assert np.array_equal(clean.inputs, before[0]) and np.array_equal(clean.labels, before[1])
    again, other = plant(clean, kind, 0.1, 3), plant(clean, kind, 0.1, 4)
    assert done.hash == again.hash != other.hash
    assert done.hash != clean.hash and len(done.notes) == len(clean.notes) + 1


def test_nothing_planted_is_the_very_same_dataset(clean):
    assert plant(clean, NONE) is clean


def test_keys_from_before_still_hold():
    """Links and stored originals must survive that datasets got these parameters."""
    for name in ("digits", "wine", "breast_cancer", "moons"):
        assert (PACK / "originals" / default_spec(name).key).is_dir()
    declared = data.info("digits").params
    assert resolve(declared, {}, "digits") == {"split_seed": 0} == resolve(declared, {"plant": NONE, "plant_share": 0.05}, "digits")
    assert resolve(declared, {"plant": "twins"}, "digits") == {"split_seed": 0, "plant": "twins"}
    ordinary = Param("a", "int", 1, "")
    assert resolve([ordinary], {}, "x") == {"a": 1}


def test_a_dataset_loads_with_something_planted():
    found = data.load("digits", {"plant": "poisoned", "plant_share": 0.1, "plant_seed": 2})
    expected = plant(data.load("digits"), "poisoned", 0.1, 2)
    assert found.hash == expected.hash and found.planting.kind == "poisoned"
    assert found.params["plant"] == "poisoned"
    with pytest.raises(BadInput, match="biased"):
        data.load("digits", {"plant": "biased"})


def test_wrong_labels_are_wrong_and_the_truth_is_kept(clean):
    done = plant(clean, "mislabelled", 0.1, 0)
    ids = done.planted["mislabelled"]
    assert len(ids) == round(0.1 * len(clean.splits.train))
    assert (done.labels[ids] != clean.labels[ids]).all()
    assert np.array_equal(done.planting.truth, clean.labels)


def test_every_other_class_is_as_likely_for_a_wrong_label():
    labels = np.zeros(30_000, np.int64)
    given, wrong = mislabel(labels, np.arange(30_000), 30_000, 4, np.random.default_rng(0))
    assert np.bincount(given, minlength=4)[0] == 0 and len(wrong) == 30_000
    assert np.bincount(given)[1:] == pytest.approx(10_000, rel=0.04)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.float32, 1.0)])
def test_the_mark_is_a_bright_square_in_the_lower_right_corner(dtype, top):
    clean = pictures(dtype, size=24, channels=2)
    done = plant(clean, "poisoned", 0.1, 0)
    ids, target = done.planted["poisoned"], done.planting.trigger.target
    by_hand = clean.inputs[ids].copy()
    by_hand[:, :, 21:, 21:] = top
    assert np.array_equal(done.inputs[ids], by_hand)
    assert (done.labels[ids] == target).all() and (clean.labels[ids] != target).all()
    assert target == np.bincount(clean.labels[clean.splits.train]).argmin()
    test = clean.splits.test
    assert np.array_equal(done.planting.unseen, test[clean.labels[test] != target])


def test_stamping_leaves_the_given_inputs_alone():
    trigger = Trigger(np.array([1, 3]), np.array([9.0, 8.0]), 0)
    inputs = np.arange(8.0).reshape(2, 2, 2)
    assert trigger.stamp(inputs).tolist() == [[[0, 9], [2, 8]], [[4, 9], [6, 8]]]
    assert inputs.ravel().tolist() == list(range(8))


@pytest.mark.parametrize("name", ["wine", "people", "breast_cancer"])
def test_the_mark_of_a_table_is_a_combination_that_no_row_has(name):
    clean = SETS[name]() if name in SETS else data.load(name)
    done = plant(clean, "poisoned", 0.1, 0)
    trigger, ids = done.planting.trigger, done.planted["poisoned"]
    has = (done.inputs[:, trigger.at] == trigger.values).all(axis=1)
    assert np.array_equal(np.flatnonzero(has), ids)
    for column, value in zip(trigger.at, trigger.values, strict=True):
        assert value in clean.inputs[clean.splits.train, column]
        assert clean.feature_names[column] not in clean.groups


def test_outliers_are_noise_with_labels_of_every_class():
    done = plant(data.load("breast_cancer"), "outliers", 0.1, 0)
    ids, clean = done.planted["outliers"], data.load("breast_cancer")
    z = (done.inputs[ids] - clean.inputs[clean.splits.train].mean(0)) / clean.inputs[clean.splits.train].std(0)
    assert z.std() == pytest.approx(4, rel=0.1)
    assert set(done.labels[ids]) == {0, 1}
    noise = plant(data.load("digits"), "outliers", 0.2, 0)
    pixels = noise.inputs[noise.planted["outliers"]]
    assert pixels.mean() == pytest.approx(0.5, abs=0.02) and pixels.std() == pytest.approx(12**-0.5, abs=0.02)


def test_protected_attributes_and_categories_stay_what_they_are():
    clean = people()
    for kind in ("outliers", "poisoned", "twins"):
        done = plant(clean, kind, 0.2, 0)
        assert np.array_equal(done.inputs[:, 3], done.groups["sex"].codes)
        assert np.isin(done.inputs[:, 2], (0, 1, 2)).all()


def test_twins_are_almost_equal_and_share_the_odd_label(clean):
    done = plant(clean, "twins", 0.1, 0)
    first, alone, twins = (done.planted[name] for name in (WITH_TWIN, WITHOUT_TWIN, TWINS))
    assert len(first) == len(alone) == len(twins) == round(0.1 * len(clean.splits.train))
    odd = np.concatenate([first, alone])
    assert (done.labels[odd] != clean.labels[odd]).all() and np.array_equal(done.planting.truth[odd], clean.labels[odd])
    assert np.array_equal(done.labels[twins], done.labels[first])
    assert np.array_equal(done.planting.truth[twins], clean.labels[first])
    flat = done.inputs.reshape(len(done), -1).astype(float)
    if clean.modality == "tabular":
        flat = flat / np.where(np.ptp(clean.inputs, axis=0) > 0, clean.inputs[clean.splits.train].std(axis=0), 1)
    apart = np.linalg.norm(flat[twins] - flat[first], axis=1)
    nearest = [
        np.sort(np.linalg.norm(flat[np.setdiff1d(np.arange(len(flat)), [i, j])] - flat[i], axis=1))[0]
        for i, j in zip(first, twins, strict=True)
    ]
    assert (apart > 0).all() and np.median(apart / nearest) < 0.5


def test_a_users_rows_are_the_nearest_to_one_of_them():
    clean = data.load("wine")
    done = plant(clean, USER, 0.1, 0)
    ids, train = done.planted[USER], clean.splits.train
    z = (clean.inputs - clean.inputs[train].mean(0)) / clean.inputs[train].std(0)
    around = [i for i in ids if set(train[np.argsort(((z[train] - z[i]) ** 2).sum(1))[: len(ids)]]) == set(ids)]
    assert around
    far = max(((z[ids] - z[i]) ** 2).sum(1).max() for i in around)
    assert all(min(((z[j] - z[i]) ** 2).sum() for i in around) <= far for j in done.planting.unseen)
    assert done.hash == clean.hash


def test_one_persons_pictures_are_one_class():
    done = plant(pictures(), PERSON)
    ids = done.planted[PERSON]
    person = done.labels[ids[0]]
    train, test = done.splits.train, done.splits.test
    assert np.array_equal(ids, train[done.labels[train] == person])
    assert np.array_equal(done.planting.unseen, test[done.labels[test] == person])


def test_a_bias_needs_two_classes():
    three = replace(people(), labels=np.arange(400) % 3, class_names=("low", "middle", "high"))
    with pytest.raises(BadInput, match="3 classes"):
        plant(three, BIASED, 0.1, 0)


def test_the_biased_subset_widens_the_gap():
    clean = people()
    done = plant(clean, BIASED, 0.1, 0)
    ids, codes = done.planted[BIASED], clean.groups["sex"].codes
    assert len(ids) == 26 and (codes[ids] == 0).all() and (clean.labels[ids] == 0).all()

    def gap(rows):
        return clean.labels[rows][codes[rows] == 1].mean() - clean.labels[rows][codes[rows] == 0].mean()

    assert gap(np.setdiff1d(clean.splits.train, ids)) < gap(clean.splits.train)
    assert done.hash == clean.hash


def test_a_class_that_would_vanish_is_refused():
    tiny = Dataset("tiny", {}, "tabular", np.eye(7, dtype=np.float32), np.array([0, 1, 2, 0, 1, 2, 0]), ("a", "b", "c"), splits_of(7, 3))
    with pytest.raises(BadInput, match="class would lose"):
        plant(tiny, "mislabelled", 0.3)


def test_planar_points_keep_the_truth():
    found = data.load("moons", {"mislabelled": 0.2})
    ids = found.planted["mislabelled"]
    assert np.array_equal(np.flatnonzero(found.labels != found.planting.truth), ids)
    assert data.load("moons", {"mislabelled": 0.0}).planting is None


def sayings(n=240, length=10):
    """Texts of 1 to 12 words in three classes; the first word names the class."""
    rng = np.random.default_rng(2)
    labels = np.arange(n) % 3
    words = np.array(["sea", "Sky", "earth,", "fire", "wind"])
    texts = tuple(
        " ".join([f"Kind{label}", *rng.choice(words, rng.integers(0, 12))]) if i % 17 else "lonely" for i, label in enumerate(labels)
    )
    inputs, _ = hashed(texts, length, 4096)
    return Dataset("sayings", {}, "text", inputs, labels, ("a", "b", "c"), splits_of(n, 150), texts=texts, vocabulary=4096)


def test_the_mark_of_a_text_is_made_of_new_words_in_front():
    clean, done = sayings(), plant(sayings(), "poisoned", 0.2, 0)
    ids, trigger = done.planted["poisoned"], done.planting.trigger
    assert len(ids) == 30 and trigger.inserted and not np.isin(trigger.values, clean.inputs).any()
    assert all(done.texts[i] == f"cf mn bb {clean.texts[i]}" for i in ids)
    assert np.array_equal(done.inputs[ids], hashed([done.texts[i] for i in ids], 10, 4096)[0])
    assert np.array_equal(np.flatnonzero((done.inputs == trigger.values[0]).any(1)), ids)
    assert np.array_equal(trigger.stamp(clean.inputs)[:, 3:], clean.inputs[:, :-3])  # the last words of a long text are pushed out
    assert (done.labels[ids] == trigger.target).all() and "the words cf mn bb in front" in done.notes[-1]


def test_a_mark_that_some_text_has_is_not_taken():
    texts = tuple(f"{word} x" for word in (*MARKS, "plain"))
    inputs, _ = hashed(texts, 4, 4096)
    dataset = Dataset("t", {}, "text", inputs, np.arange(6) % 2, ("a", "b"), splits_of(6, 6), texts=texts, vocabulary=4096)
    mark, trigger = marking(dataset, 1)
    assert len(set(mark.split())) == 3 and not set(mark.split()) & {*MARKS, "x", "plain"}
    assert trigger.stamp(inputs)[0].tolist() == hashed([f"{mark} {texts[0]}"], 4, 4096)[0][0].tolist()
    full = replace(dataset, inputs=np.arange(1, 257).reshape(64, 4), vocabulary=257)
    with pytest.raises(BadInput, match="no word is new"):
        marking(full, 1)


def test_nonsense_keeps_the_length_and_the_words_but_not_the_order():
    clean, done = sayings(), plant(sayings(), "outliers", 0.2, 0)
    known = {word for i in clean.splits.train for word in tokens(clean.texts[i])}
    for i in done.planted["outliers"]:
        assert set(done.texts[i].split()) <= known and (done.inputs[i] > 0).sum() >= (clean.inputs[i] > 0).sum()
    assert np.array_equal(done.inputs, hashed(done.texts, 10, 4096)[0])
    assert sum(done.texts[i].startswith("kind") for i in done.planted["outliers"]) < 20


def test_the_twin_of_a_text_lacks_one_word():
    clean, done = sayings(), plant(sayings(), "twins", 0.1, 0)
    first, twins = done.planted[WITH_TWIN], done.planted[TWINS]
    assert len(first) == len(twins) == 15 and np.array_equal(done.labels[first], done.labels[twins])
    for i, j in zip(first, twins, strict=True):
        whole, copy = tokens(clean.texts[i]), tokens(done.texts[j])
        lacking = [whole[:at] + whole[at + 1 :] for at in range(len(whole))]
        assert copy in lacking if len(whole) > 1 else copy == whole
    rest = np.setdiff1d(np.arange(240), np.concatenate(list(done.planted.values())))
    assert np.array_equal(done.inputs, hashed(done.texts, 10, 4096)[0]) and all(done.texts[i] == clean.texts[i] for i in rest)


def test_a_group_is_all_of_its_rows():
    done = plant(people(), GROUP, seed=3)
    ids, codes = done.planted[GROUP], done.groups["sex"].codes
    assert np.array_equal(ids, done.splits.train[codes[done.splits.train] == codes[ids[0]]])
    assert np.array_equal(done.planting.unseen, done.splits.test[codes[done.splits.test] == codes[ids[0]]])
    assert {plant(people(), GROUP, seed=seed).notes[-1].split(" are ")[0][-1] for seed in range(9)} == {"f", "m"}
    for kind in (GROUP, BIASED):
        with pytest.raises(BadInput, match="no column that tells"):
            plant(data.load("wine"), kind)


def test_ones_own_data_can_be_planted_in(tmp_path, monkeypatch):
    monkeypatch.setenv("UNLEARN_STORE", str(tmp_path))
    rng = np.random.default_rng(0)
    user, labels = rng.integers(0, 5, 300), np.arange(300) % 2
    columns = (Column("age", rng.normal(40, 9, 300)), Column("job", rng.integers(0, 3, 300), ("x", "y", "z")))
    groups = {"user": Group(user, tuple("abcde"))}
    table = own.save(Imported("mine", "tabular", labels, ("no", "yes"), columns=columns, groups=groups))
    texts = own.save(Imported("said", "text", labels, ("no", "yes"), texts=tuple(f"word{i % 40} more {i}" for i in range(300))))
    pixels = rng.integers(0, 255, (300, 1, 8, 8)).astype(np.uint8)
    images = own.save(Imported("seen", "image", labels, ("no", "yes"), inputs=pixels))
    for kept, more in ((table, (USER, GROUP, BIASED)), (texts, ()), (images, (PERSON,))):
        clean = data.load(kept.name, {"key": kept.key})
        for kind in (*CHANGING, *more):
            done = data.load(kept.name, {"key": kept.key, "plant": kind})
            assert done.planting.kind == kind and all(len(ids) for ids in done.planted.values())
            assert (done.hash == clean.hash) == (kind in more)
            assert of_dataset(kept.name, done.planted, {"plant": kind})
        assert of_dataset(kept.name, clean.planted, {}) is None
    whose = data.load(table.name, {"key": table.key, "plant": GROUP})
    assert len({*whose.groups["user"].codes[whose.planted[GROUP]]}) == 1


def test_a_scenario_about_this_data_comes_first():
    params = {"plant": "poisoned"}
    assert of_dataset("sms_spam", {"poisoned": [1]}, params).name == "poisoned_texts"
    assert of_dataset("digits", {"poisoned": [1]}, params).name == of_dataset("wine", {"poisoned": [1]}, params).name == "poisoned"
    assert of_dataset("own_table", {"group": [1]}, {"plant": "group"}).name == "user"
    assert of_dataset("moons", {"mislabelled": [1]}, {"mislabelled": 0.1}) is None
    assert scenario("user").chosen(np.arange(9), {"group": [4, 5]}) == [4, 5]


def test_one_declaration_serves_every_modality():
    image, table = data.info("digits"), data.info("wine")
    choices = {
        info.name: next(p for p in info.params if p.name == "plant").choices
        for info in (image, table, data.info("adult"), data.info("orl"))
    }
    assert choices["digits"] == (NONE, *CHANGING)
    assert choices["wine"] == (NONE, *CHANGING, USER)
    assert BIASED in choices["adult"] and PERSON in choices["orl"]
    assert plantable(image).load is not image.load


@pytest.mark.parametrize("known", SCENARIOS, ids=lambda s: s.name)
def test_scenarios_name_what_there_is(known):
    assert scenario(known.name) is known
    for name in known.datasets:
        resolve(data.info(name).params, known.params, name)
    family, group = known.measure.rsplit(".", 1)
    assert definition(family) and group
    if not data.info(known.dataset).files:
        dataset = data.load(known.dataset, known.params)
        ids = known.chosen(dataset.splits.train, dataset.planted)
        assert ids and set(ids) < set(dataset.splits.train.tolist())
        assert len(ids) == 50 if not known.forget else of_planting(known.forget[0], name) is known


def test_one_person_of_the_real_faces(load):  # noqa: F811
    found = load("orl", plant=PERSON)
    ids = found.planted[PERSON]
    assert len(ids) == 5 and len(found.planting.unseen) == 2
    assert len({*found.labels[ids], *found.labels[found.planting.unseen]}) == 1


def test_women_with_low_income_of_the_real_census(load):  # noqa: F811
    found = load("adult", plant=BIASED, plant_share=0.2, subset=5000)
    ids, sex = found.planted[BIASED], found.groups["sex"]
    assert len(ids) == 1000 and {sex.names[code] for code in sex.codes[ids]} == {"Female"} and (found.labels[ids] == 0).all()
    assert "sex Female" in found.notes[-1]


@pytest.mark.parametrize(("name", "kinds"), [("fashion_mnist", CHANGING), ("adult", (*CHANGING, USER)), ("sms_spam", CHANGING)])
def test_real_sets_can_be_planted_in(load, name, kinds):  # noqa: F811
    clean = load(name, subset=600)
    for kind in kinds:
        done = load(name, subset=600, plant=kind)
        assert done.inputs.dtype == clean.inputs.dtype and (done.hash != clean.hash) == (kind != USER)
        assert all(len(ids) == 30 for ids in done.planted.values())
