"""The relearn race draws the curves that it is given."""

import json

import numpy as np

from unlearn_core.figures.palette import MODEL_COLOURS
from unlearn_core.figures.relearning import race

VIEW = {
    "epoch": np.arange(4), "original": np.array([0.1, 0.05, 0.02, 0.01]), "unlearned": np.array([1.5, 0.9, 0.4, 0.2]),
    "retrained": np.array([[2.0, 1.5, 1.0, 0.6], [2.2, 1.7, 1.3, 0.9]]), "target": np.array(1.1),
}  # fmt: skip


def test_every_model_has_its_curve_and_the_target_its_line():
    fig = race(VIEW, y="loss")
    drawn = {trace.name: trace for trace in fig.data}
    assert tuple(drawn["Unlearned"].y) == tuple(VIEW["unlearned"]) and drawn["Unlearned"].line.color == MODEL_COLOURS["unlearned"]
    assert [tuple(t.y) for t in fig.data if t.name == "Retrained"] == [tuple(row) for row in VIEW["retrained"]]
    assert all(t.mode == "lines" and t.line.width < drawn["Original"].line.width for t in fig.data if t.name == "Retrained")
    assert tuple(drawn["half-way to the original"].y) == (1.1, 1.1)
    assert fig.layout.yaxis.range[0] == 0 and fig.layout.yaxis.range[1] > 2.2
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)" and json.loads(fig.to_json())["data"]


def test_accuracy_stays_within_what_a_share_can_be_and_a_flat_race_looks_flat():
    rest = {"epoch": VIEW["epoch"], "retrained": np.ones((2, 4))}
    fig = race(rest | {"original": np.ones(4)}, y="accuracy", share=True)
    low, high = fig.layout.yaxis.range
    assert 0.8 < low < 0.91 and 1 < high < 1.1 and {t.name for t in fig.data} == {"Retrained", "Original"}
    tiny = race({"epoch": VIEW["epoch"], "original": np.full(4, 1e-6), "retrained": np.full((1, 4), 2e-6)}, y="loss")
    assert tiny.layout.yaxis.range[1] > 0.1
