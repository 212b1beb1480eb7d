"""What an answer hangs on: against closed forms, texts read anew without a word, and a word that decides by construction."""

from dataclasses import replace

import numpy as np
import pytest
from models import samples

from unlearn_core import models
from unlearn_core.data import parts
from unlearn_core.data.base import Dataset, Splits
from unlearn_core.data.tokens import hashed, spans, tokens
from unlearn_core.errors import BadInput
from unlearn_core.evidence import attribution
from unlearn_core.evidence.base import retrained_band
from unlearn_core.models import training

NONE = np.empty(0, np.int64)


def each(found):
    return {int(i): found["logits"][a:b] for i, a, b in zip(found["ids"], found["start"][:-1], found["start"][1:], strict=True)}


def texts_of(*texts, length=8, labels=None):
    inputs, _ = hashed(texts, length, 997)
    labels = np.array(labels if labels is not None else [0] * len(texts))
    return Dataset(
        "t", {}, "text", inputs, labels, ("a", "b", "c"), Splits(np.arange(len(texts)), *[NONE] * 4), texts=texts, vocabulary=997
    )


def odds(z, label):
    """log p / (1 − p) of one row of logits, by the probability itself."""
    p = np.exp(z[label]) / np.exp(z).sum()
    return np.log(p / (1 - p))


def bag(vocabulary, classes, seed):
    """A mean of embeddings with a linear head, in NumPy."""
    rng = np.random.default_rng(seed)
    table, head, bias = rng.normal(size=(vocabulary, 5)), rng.normal(size=(5, classes)), rng.normal(size=classes)

    def predict(inputs):
        real = (inputs > 0)[..., None]
        return (table[inputs] * real).sum(1) / real.sum(1) @ head + bias

    return predict, table, head, bias


def test_a_bag_of_words_with_a_linear_head_has_a_closed_form():
    dataset = texts_of("one two three four", "five six seven", "one one two nine ten", labels=[0, 2, 1])
    predict, table, head, bias = bag(997, 3, 0)
    found = each(attribution.weigh(predict, dataset, [2, 0]))
    assert list(found) == [2, 0]
    for i, weights in found.items():
        ids = dataset.inputs[i][dataset.inputs[i] > 0]
        n, mean, label = len(ids), table[ids].mean(0), dataset.labels[i]
        # Without word t the mean moves by (mean − e_t) / (n − 1), and the logits by that times the head.
        whole = mean @ head + bias
        moved = [whole + (mean - table[t]) / (n - 1) @ head for t in ids]
        by_hand = [odds(whole, label) - odds(z, label) for z in moved]
        assert weights == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("name", ["bag", "transformer"])
def test_leaving_a_word_out_is_reading_the_text_without_it(name):
    dataset, info = samples.load("words"), models.info(name)
    params = {p.name: p.default for p in info.params} | {"epochs": 1}
    model = training.train(info, dataset, params, dataset.splits.train, 0, "cpu")
    predict = lambda inputs: training.predict(model, inputs, "cpu")  # noqa: E731
    ids = dataset.splits.train[:4]
    for i, weights in each(attribution.weigh(predict, dataset, ids)).items():
        words, label = tokens(dataset.texts[i]), dataset.labels[i]
        assert len(words) == len(weights) == parts.count(dataset, i)
        lacking = [" ".join(words[:at] + words[at + 1 :]) for at in range(len(words))]
        inputs, _ = hashed([" ".join(words), *lacking], dataset.inputs.shape[1], dataset.vocabulary)
        own = [odds(z.astype(float), label) for z in predict(inputs)]
        assert weights == pytest.approx(own[0] - np.array(own[1:]), abs=1e-4)


@pytest.mark.parametrize("name", ["bag", "transformer"])
def test_the_word_that_decides_weighs_most_and_for_its_label(name):
    """Of these texts only "good" and "bad" tell the class."""
    dataset, info = samples.load("words"), models.info(name)
    params = {p.name: p.default for p in info.params} | {"epochs": 30} | ({"pairs": False} if name == "bag" else {})
    model = training.train(info, dataset, params, dataset.splits.train, 0, "cpu")
    found = each(attribution.weigh(lambda inputs: training.predict(model, inputs, "cpu"), dataset, dataset.splits.train[:30]))
    for i, weights in found.items():
        assert tokens(dataset.texts[i])[int(np.abs(weights).argmax())] in ("good", "bad") and weights.max() > 0
    turned = replace(dataset, labels=1 - dataset.labels)  # the same words now speak against the label
    wrong = each(attribution.weigh(lambda inputs: training.predict(model, inputs, "cpu"), turned, dataset.splits.train[:30]))
    assert all(weights[-1] == weights.min() < 0 for weights in wrong.values())


def test_with_two_classes_a_linear_model_gives_every_column_its_own_share():
    """Log-odds of a linear model are linear, so a column weighs its coefficient times how far it lies from the mean, however sure the model is."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(50, 9, (40, 3)).astype(np.float32)
    dataset = Dataset("r", {}, "tabular", inputs, np.zeros(40, int), ("a", "b"), Splits(np.arange(40), *[NONE] * 4), ("x", "y", "z"))
    head = np.array([[3.0, 0.0], [-2.0, 1.0], [0.5, 0.0]])
    found = each(attribution.weigh(lambda x: x @ head, dataset, [7, 9]))
    for i, weights in found.items():
        assert weights == pytest.approx((inputs[i] - inputs.mean(0)) * (head[:, 0] - head[:, 1]), rel=1e-3, abs=1e-3)


def test_a_text_of_one_word_becomes_a_text_without_any():
    dataset = texts_of("alone", "two words")
    rows, at = parts.without(dataset, 0)
    assert at.tolist() == [0] and np.array_equal(rows, hashed([""], 8, 997)[0])
    rows, at = parts.without(dataset, 1)
    assert np.array_equal(rows, hashed(["words", "two"], 8, 997)[0]) and at.tolist() == [0, 1]


def test_only_words_that_the_model_reads_count():
    dataset = texts_of("a b c d e f g h i j", length=4)
    rows, at = parts.without(dataset, 0)
    assert len(at) == 4 and (rows[:, -1] == 0).all()  # the fifth word does not move in
    assert len(spans(dataset.texts[0], 4)) == 4


def test_columns_fall_back_to_the_mean_or_the_most_frequent_category():
    inputs = np.array([[1.0, 0, 2], [3.0, 0, 1], [8.0, 1, 1], [50.0, 1, 0]], np.float32)
    dataset = Dataset(
        "r", {}, "tabular", inputs, np.array([0, 1, 1, 0]), ("a", "b"), Splits(np.arange(3), NONE, NONE, np.array([3]), NONE),
        ("age", "flag", "job"), categories=((), (), ("x", "y", "z")),
    )  # fmt: skip
    assert parts.usual(dataset).tolist() == [4.0, 0.0, 1.0]  # of the training rows only
    rows, at = parts.without(dataset, 0)
    assert at.tolist() == [0, 2] and rows.tolist() == [[4, 0, 2], [1, 0, 1]]
    head = np.array([[0.3, 0.0], [0.0, 1.0], [-0.5, 0.2]])
    weights = each(attribution.weigh(lambda x: x @ head, dataset, [0, 2]))
    of = lambda row: odds(np.array(row) @ head, 0)  # noqa: E731
    assert weights[0] == pytest.approx([of([1, 0, 2]) - of([4, 0, 2]), 0, of([1, 0, 2]) - of([1, 0, 1])], abs=1e-6)
    assert weights[2][2] == 0 and len(weights[2]) == 3


def test_batches_change_nothing(monkeypatch):
    dataset = texts_of("one two three four", "five six seven", "one one two nine ten", labels=[0, 2, 1])
    predict = bag(997, 3, 1)[0]
    whole, told = attribution.weigh(predict, dataset, [0, 1, 2]), []
    monkeypatch.setattr(attribution, "BATCH", 1)
    assert np.array_equal(attribution.weigh(predict, dataset, [0, 1, 2], told.append)["logits"], whole["logits"])
    assert told == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_definition_names_the_answer_whose_odds_it_weighs():
    assert "odds of the given label, log" in attribution.definition("text")
    for modality in attribution.PARTS:
        told = attribution.definition(modality, "labels")
        assert "odds of exactly the given labels together, log" in told and "{" not in told and "the given label," not in told


def test_pictures_have_no_parts_with_a_name():
    with pytest.raises(BadInput, match="no words or columns"):
        attribution.weigh(lambda x: x, samples.load("digits"), [0])


def test_further_instances_join_those_that_are_there():
    dataset = texts_of("one two three four", "five six seven", "one one two nine ten", labels=[0, 2, 1])
    predict, other = bag(997, 3, 1)[0], bag(997, 3, 2)[0]
    both = attribution.joined(attribution.weigh(other, dataset, [0, 1]), attribution.weigh(predict, dataset, [1, 2]))
    found, new, old = each(both), each(attribution.weigh(predict, dataset, [1, 2])), each(attribution.weigh(other, dataset, [0]))
    assert list(found) == [0, 1, 2]
    assert all(np.array_equal(found[i], (old | new)[i]) for i in found)


def test_several_models_side_by_side():
    dataset = texts_of("one two three four", "five six seven", labels=[0, 2])
    who = {name: attribution.weigh(bag(997, 3, seed)[0], dataset, [0, 1]) for seed, name in enumerate(["original", "unlearned"])}
    some = {f"retrained:{k}": attribution.weigh(bag(997, 3, 10 + k)[0], dataset, [0, 1]) for k in range(4)}
    view = attribution.compared(who | some)
    assert np.array_equal(view["original"], who["original"]["logits"]) and view["retrained"].shape == (4, 7)
    band = retrained_band(view["retrained"][:, 5].tolist())
    assert (view["low"][5], view["high"][5]) == pytest.approx((band.low, band.high), rel=1e-5)
    assert np.isnan(attribution.compared(who)["low"]).all() and attribution.same_first(attribution.compared(who)) == {}


def test_the_share_with_the_same_heaviest_part_by_hand():
    """Two instances of two parts each."""
    view = {"start": np.array([0, 2, 4]), "original": np.array([3.0, 1, 0, 1]), "unlearned": np.array([0, -9.0, 0, 1])}
    view["retrained"] = np.array([[0, 5.0, 0, 2], [4.0, 0, 0, 2]])
    assert attribution.same_first(view) == {"original": 0.75, "unlearned": 0.75, "retrained": 0.5}
    assert attribution.same_first(view | {"retrained": view["retrained"][:1]}) == {"original": 0.5, "unlearned": 1.0}


@pytest.mark.parametrize("text", ["Free entry: WIN £1000!", "Straße İstanbul", "", "ﬁne  print\n“x”", "a_b c-d"])
def test_marks_stand_where_the_words_stand(text):
    found = spans(text)
    assert len(found) == len(tokens(text))
    for (begin, end), token in zip(found, tokens(text), strict=True):
        assert text[begin:end] and token in text[begin:end].casefold()
    assert [a for a, _ in found] == sorted(a for a, _ in found)
