"""The figure of SVC MIA-efficacy draws the shares that it is given and says which SVC can be believed."""

import json

import numpy as np

from unlearn_core.figures import population as figures

VIEW = {
    "original": np.array([0.7, 0.2, 0.6, 0.1]),
    "unlearned": np.array([0.5499, 0.4, 0.5, 0.3]),
    "retrained": np.array([[0.6, 0.3, 0.5, 0.45], [0.65, 0.2, 0.5, 0.4]]),
}


def test_every_model_has_a_row_with_the_shares_of_the_three_groups():
    fig = figures.svc_shares(VIEW)
    rows = np.array([VIEW["original"], VIEW["unlearned"], *VIEW["retrained"]])
    for column, trace in enumerate(fig.data, start=1):
        np.testing.assert_array_equal(trace.x, rows[:, column])
        np.testing.assert_array_equal(trace.y, [3, 2, 1, 0])
    assert [trace.name for trace in fig.data] == ["Retained", "Test (never seen)", "Forgotten"]
    assert len({trace.marker.symbol for trace in fig.data}) == 3  # not told apart by colour alone


def test_an_svc_that_is_not_believed_is_faint_and_says_so():
    fig = figures.svc_shares(VIEW)
    opacity = fig.data[2].marker.opacity
    assert opacity[1] < opacity[0] == opacity[2] == opacity[3]
    labels = fig.layout.yaxis.ticktext
    assert "54%: not believed" in labels[1]  # never rounded up to what would be enough
    assert "not believed" not in labels[0] + labels[2] + labels[3]


def test_models_that_are_not_there_have_no_row():
    early = {"original": VIEW["original"], "retrained": np.zeros((0, 4))}
    fig = figures.svc_shares(early)
    assert list(figures.svc_models(early)) == ["Original"] and len(fig.data[0].x) == 1
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert json.loads(fig.to_json())["data"]
