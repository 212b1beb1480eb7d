"""Shared by all tests: one store with small trained originals, filled on first use."""

import pytest

# Small enough to train in a blink, large enough that every split has instances of every class.
SMALL = {
    "dataset": "moons",
    "dataset_params": {"instances": 160, "mislabelled": 0.1},
    "model": "mlp",
    "model_params": {"width": 12, "epochs": 40},
}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    from unlearn_core.runs.store import Store

    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def small_spec():
    """Spec of the small original on moons with planted wrong labels."""
    from unlearn_core.runs.spec import OriginalSpec

    return OriginalSpec.make(**SMALL)


@pytest.fixture(scope="session")
def small(store, small_spec):
    """That original, trained and stored."""
    from unlearn_core.models.device import settle
    from unlearn_core.runs.originals import prepare
    from unlearn_core.runs.progress import Reporter

    settle()
    return prepare(store, small_spec, Reporter())
