"""The needles: every instance a row, its band where the view says, flagged marks filled."""

import numpy as np

from unlearn_core.figures.instances import MOST, needles


def view(n, k=5):
    rng = np.random.default_rng(0)
    unlearned = rng.normal(0, 3, n)
    verdict = np.select([unlearned > 2, unlearned < -2], ["still told apart", "over-forgotten"], "not told apart")
    return {
        "ids": np.arange(n) * 3, "original": unlearned + 2, "unlearned": unlearned, "retrained": rng.normal(0, 1, (k, n)),
        "low": np.full(n, -2.0), "high": np.full(n, 2.0), "verdict": verdict,
    }  # fmt: skip


def test_rows_are_sorted_and_bands_and_marks_stand_where_the_view_says():
    shown = view(12)
    fig = needles(shown)
    band = fig.data[0]
    assert np.allclose(band.base, -2) and np.allclose(band.x, 4)
    like, flagged = fig.data[3], fig.data[4]
    assert len(like.x) + len(flagged.x) == 12
    assert (np.abs(like.x) <= 2).all() and (np.abs(flagged.x) > 2).all()
    ids = [int(text) for text in fig.layout.yaxis.ticktext]
    assert ids == shown["ids"][np.argsort(shown["unlearned"])].tolist()


def test_many_instances_show_both_extremes():
    shown = view(200)
    drawn = [int(text) for text in needles(shown).layout.yaxis.ticktext]
    order = shown["ids"][np.argsort(shown["unlearned"])].tolist()
    assert len(drawn) == MOST and drawn[0] == order[0] and drawn[-1] == order[-1]
