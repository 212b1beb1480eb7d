"""SISA (sharded, isolated, sliced, aggregated): a way of training that makes exact deletion cheaper than training again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from unlearn_core.data.base import Dataset
from unlearn_core.models import mlp
from unlearn_core.models.base import Facts, ModelInfo
from unlearn_core.params import Param

if TYPE_CHECKING:
    from unlearn_core.models.classifier import Classifier
    from unlearn_core.models.training import Progress


def build(facts: Facts, params: dict[str, Any]) -> Classifier:
    from unlearn_core.models.sharded import Sharded

    return Sharded(facts, [mlp.build(facts, params) for _ in range(params["shards"])], params)


def train(
    info: ModelInfo,
    dataset: Dataset,
    params: dict[str, Any],
    ids: Sequence[int],
    seed: int,
    device: str,
    progress: Progress,
    after_epoch: Callable[[Classifier], bool] | None,
) -> Classifier:
    """Every shard from its first slice on; `after_epoch` is asked after each shard, when members not yet trained abstain."""
    from unlearn_core.models import training

    model = training.fresh(info, dataset, params, seed, device)
    model.seed.fill_(seed)
    model.head.voting.fill_(False)
    model.learn(*training.tensors(dataset, device), ids, [0] * params["shards"], progress, after_epoch)
    return model


MODEL = ModelInfo(
    name="sisa",
    title="SISA ensemble",
    description="Multilayer perceptrons that each learn one shard of the data, slice by slice with checkpoints, and answer with the mean of their "
    "probabilities (Bourtoule et al., arXiv 1912.03817). The method SISA deletes from it exactly; other methods treat it as one network and "
    "leave its checkpoints as they are. Features of the members stand side by side. Epochs count passes over each shard.",
    modalities=mlp.MODEL.modalities,
    build=build,
    params=(
        Param("shards", "int", 5, "Members of the ensemble; each learns its own part of the data.", 1, 64),
        Param("slices", "int", 5, "Parts of a shard that are added one after another, each behind a checkpoint.", 1, 64),
        *mlp.MODEL.params,
    ),
    order=5,
    train=train,
    tasks=("classes",),
    withheld=("checkpoints",),  # methods other than SISA leave those that know the forgotten instances
)
