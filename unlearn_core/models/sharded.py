"""A SISA ensemble: members side by side that share no instance, each trained slice by slice with checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearn_core.models import sharding, training
from unlearn_core.models.base import Facts
from unlearn_core.models.classifier import Classifier
from unlearn_core.seeds import derive


class Beside(nn.Module):
    """Modules side by side, their outputs [N, d] concatenated; each sees the whole input, or (divided) its own equal part of it."""

    def __init__(self, parts: Sequence[nn.Module], *, divided: bool):
        super().__init__()
        self.parts, self.divided = nn.ModuleList(parts), divided

    def forward(self, x: Tensor) -> Tensor:
        given = x.chunk(len(self.parts), dim=1) if self.divided else [x] * len(self.parts)
        return torch.cat([part(own).flatten(1) for part, own in zip(self.parts, given, strict=True)], dim=1)


class Vote(nn.Module):
    """Features of all members [N, S·d] → log of the mean of their probabilities [N, C]; members that know nothing abstain."""

    def __init__(self, heads: Sequence[nn.Module]):
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.register_buffer("voting", torch.ones(len(heads), dtype=torch.bool))

    def forward(self, features: Tensor) -> Tensor:
        parts = features.chunk(len(self.heads), dim=1)
        logits = torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)])
        silent = ~self.voting[:, None, None]
        return logits.log_softmax(dim=-1).masked_fill(silent, -torch.inf).logsumexp(dim=0) - self.voting.sum().log()


class Sharded(Classifier):
    """Members of one architecture as one Classifier; layer by layer their activations stand side by side.

    members: views on the parts, each a Classifier that standardises by its own shard (the ensemble's own `standardise` stays the identity).
    checkpoints [S, R, P]: each member as it was before it saw each slice, weights and statistics in one row, so that training can go on
    from there; every stage has a fresh optimiser and generator, so nothing else is needed. seed: the one it was trained with.
    """

    def __init__(self, facts: Facts, members: Sequence[Classifier], params: dict[str, Any]):
        first, *later = members[0].stages
        stages = {first: Beside([nn.Sequential(member.standardise, member.stages[first]) for member in members], divided=False)}
        stages |= {name: Beside([member.stages[name] for member in members], divided=True) for name in later}
        super().__init__(facts, stages, Vote([member.head for member in members]))
        self.members, self.params = tuple(members), dict(params)
        before = torch.stack([_pack(member) for member in members])
        self.register_buffer("checkpoints", before[:, None].repeat(1, params["slices"], 1))
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def learn(
        self,
        x: Tensor,
        y: Tensor,
        ids: Sequence[int],
        first: Sequence[int],
        progress: training.Progress = training.silent,
        after_shard: Callable[[Classifier], bool] | None = None,
    ) -> None:
        """Train shard k on its part of `ids`, from the checkpoint before slice `first[k]` on; a shard whose `first` is the number of slices stays.

        after_shard(ensemble) returning True stops early.
        """
        params, seed, ids = self.params, int(self.seed), np.sort(np.asarray(ids))
        slices = params["slices"]
        shard, slice_ = sharding.assign(ids, params["shards"], slices, seed)
        work = sharding.steps(params, sharding.sizes(ids, params["shards"], slices, seed))
        work = np.where(np.arange(slices) >= np.asarray(first)[:, None], work, 0)
        done, total = 0, max(work.sum(), 1)
        for k in (k for k in range(params["shards"]) if first[k] < slices):
            member = self.members[k]
            _unpack(member, self.checkpoints[k, first[k]])
            for stage in range(first[k], slices):
                self.checkpoints[k, stage] = _pack(member)
                known = torch.as_tensor(ids[(shard == k) & (slice_ <= stage)], device=x.device)
                if not len(known):
                    continue

                def part(fraction: float, done: int = done, steps: int = work[k, stage], **curves: float) -> None:
                    progress(float((done + fraction * steps) / total), **curves)

                # Of the slices known so far and no others; later slices may be deleted and this stage must stay as it is.
                member.standardise.fit(x[known])
                training.descend(
                    member, x, y, known,
                    epochs=sharding.epochs(params, len(known), stage), batch=params["batch"], lr=params["lr"],
                    weight_decay=params["weight_decay"], seed=derive("sisa", seed, k, stage), progress=part,
                )  # fmt: skip
                done += work[k, stage]
            self.head.voting[k] = bool((shard == k).any())
            if after_shard is not None and self.head.voting.any() and after_shard(self):
                break
        else:
            progress(1.0)
        self.eval()


def _pack(member: Classifier) -> Tensor:
    return torch.cat([value.detach().flatten() for value in member.state_dict().values()])


@torch.no_grad()
def _unpack(member: Classifier, row: Tensor) -> None:
    values = list(member.state_dict().values())
    for value, part in zip(values, row.split([value.numel() for value in values]), strict=True):
        value.copy_(part.view_as(value))
