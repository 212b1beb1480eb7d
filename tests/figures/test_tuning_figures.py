"""The figure of a search draws the scores that it is given and marks the value that was chosen."""

import json

from unlearn_core.figures.palette import UNLEARNED
from unlearn_core.figures.tuning import PARTS, TOTAL, scores


def search(goal="undo", *rows, best=1):
    names = ("alpha", "score", "forget", "retain", "tuning")
    return {"goal": goal, "best": best, "trials": [dict(zip(names, row, strict=True)) for row in rows]}


ROWS = ((0.2, 0.4, 0.4, 0.0, 0.0), (0.5, 0.16, 0.1, 0.02, 0.04), (0.8, None, None, None, None))


def test_every_part_has_its_line_and_the_chosen_value_its_mark():
    fig = scores(search("undo", *ROWS))
    drawn = {trace.name: trace for trace in fig.data}
    assert drawn.keys() == {label for label, *_ in PARTS.values()} | {TOTAL, "Chosen"}
    assert tuple(drawn[TOTAL].x) == (0.2, 0.5, 0.8) and tuple(drawn[TOTAL].y) == (0.4, 0.16, None)
    assert (tuple(drawn["Chosen"].x), tuple(drawn["Chosen"].y)) == ((0.5,), (0.16,))
    assert drawn["Chosen"].marker.symbol == "diamond" and drawn["Chosen"].marker.color == UNLEARNED
    lines = [trace for trace in fig.data if trace.mode == "lines+markers"]  # told apart without colour too
    assert len({trace.line.dash for trace in lines}) == len({trace.marker.symbol for trace in lines}) == len(lines) == 4
    assert fig.layout.yaxis.range[0] == 0 and fig.layout.yaxis.range[1] > 0.4
    assert fig.layout.paper_bgcolor == fig.layout.plot_bgcolor == "rgba(0,0,0,0)" and json.loads(fig.to_json())["data"]


def test_a_search_for_wrong_answers_draws_the_accuracy_left():
    fig = scores(search("misclassify", (0.2, 0.4, 0.4, 0.0, 0.0), (0.5, 0.0, 0.0, 0.01, 0.0)))
    names = [trace.name for trace in fig.data]
    assert "Accuracy left, forgotten" in names and TOTAL not in names


def test_a_search_that_found_nothing_still_draws_and_a_flat_one_looks_flat():
    nothing = scores(search("undo", *[(a, None, None, None, None) for a in (0.1, 0.2)]))
    assert not nothing.data
    flat = scores(search("undo", (0.1, 1e-6, 1e-6, 0.0, 0.0), (0.2, 2e-6, 2e-6, 0.0, 0.0)))
    assert flat.layout.yaxis.range[1] > 0.01
