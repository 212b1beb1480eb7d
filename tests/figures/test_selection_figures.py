import numpy as np
import pytest

from unlearn_core.figures import selection


def test_each_class_shows_its_chosen_share_and_count():
    labels, chosen = np.array([0, 0, 0, 0, 1, 1]), np.array([True, False, False, False, True, True])
    bar = selection.classes(labels, chosen, ("cat", "dog", "absent")).data[0]
    assert list(bar.x) == ["cat", "dog", "absent"]
    assert list(bar.y) == [0.25, 1.0, 0.0]
    assert list(bar.text) == ["1", "2", ""]


@pytest.mark.parametrize("count", [1, 1000])
def test_one_of_many_is_still_to_be_seen(count):
    fig = selection.classes(np.zeros(count, int), np.arange(count) == 0, ("only",))
    assert fig.layout.yaxis.range[1] >= 1.1 / count
