"""The layers that words and categories enter by, and what lies between instances there: a mean of two ids is no id, a mix of embeddings is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Blend:
    """Inputs between n instances `x` [n, *shape]: row m mixes them in the shares `weights` [M, n], which sum to 1 and may be negative.

    A model takes it in place of inputs [M, *shape] if every layer that sees ids or codes is an Entry. Those are linear in how much of each
    word or category there is, so the same shares are the same mix of words or categories for every model, whatever it has learned.
    embedded: what each Entry that this went through made of the instances, [n, d] each.
    """

    def __init__(self, x: Tensor, weights: Tensor, embedded: list[Tensor] | None = None):
        self.x, self.weights = x, weights
        self.embedded = [] if embedded is None else embedded

    def under(self, change: Callable[[Tensor], Tensor]) -> Blend:
        """The same shares of `change(x)`, for what is done to inputs before an Entry; it must not bend straight lines."""
        return Blend(change(self.x), self.weights, self.embedded)

    def mix(self, values: Tensor) -> Tensor:
        """Values of the instances [n, ...] → of the blends [M, ...]."""
        return (self.weights @ values.flatten(1)).unflatten(1, values.shape[1:])

    def through(self, enter: Callable[[Tensor], Tensor]) -> Tensor:
        """Mixes of what `enter` makes of the instances, [M, ...]."""
        found = enter(self.x)
        self.embedded.append(found.flatten(1))
        return self.mix(found)


class Entry(nn.Module):
    """A layer that makes numbers of ids or codes by `enter`, which is linear in how much of each there is."""

    def enter(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor | Blend) -> Tensor:
        return x.through(self.enter) if isinstance(x, Blend) else self.enter(x)
