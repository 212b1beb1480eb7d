"""Layers that read token ids: 0 is padding behind the last token and counts for nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

STEP = 2_654_435_761  # Knuth's multiplicative hash


class Mean(nn.Module):
    """Token ids [N, L] → mean embedding [N, size] of the tokens, and of pairs of neighbours hashed into a table of the same size."""

    def __init__(self, vocabulary: int, size: int, pairs: bool):
        super().__init__()
        self.vocabulary = vocabulary
        self.words = nn.EmbeddingBag(vocabulary, size, mode="mean", padding_idx=0)
        self.pairs = nn.EmbeddingBag(vocabulary, size, mode="mean", padding_idx=0) if pairs else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for table in (self.words, self.pairs):
            if table is not None:
                nn.init.normal_(table.weight, std=1 / math.sqrt(table.weight.shape[1]))
                table.weight.data[0] = 0

    def forward(self, ids: Tensor) -> Tensor:
        found = self.words(ids)
        if self.pairs is None:
            return found
        ids = ids.long()
        first, second = ids[:, :-1], ids[:, 1:]
        # Small factors, so that nothing overflows: ids are below 2^20.
        both = 1 + (first * (STEP % (self.vocabulary - 1)) + second) % (self.vocabulary - 1)
        return (found + self.pairs(torch.where(second > 0, both, 0))) / 2


def encoder(size: int, heads: int, depth: int) -> nn.Module:
    """`depth` transformer layers on states [N, L, size] (Vaswani et al. 2017, arXiv 1706.03762), normalised before each."""
    # No dropout: retrained models and shadows shall differ by their data and seeds only, and layers can be read in either mode.
    layer = nn.TransformerEncoderLayer(size, heads, 4 * size, dropout=0.0, batch_first=True, norm_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class Attention(nn.Module):
    """Token ids [N, L] → contextual states [N, L, size]: embeddings with positions and `depth` transformer layers; padding is not looked at."""

    def __init__(self, vocabulary: int, length: int, size: int, heads: int, depth: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, size, padding_idx=0)
        self.places = nn.Parameter(torch.empty(length, size))
        self.reset_parameters()
        self.layers = encoder(size, heads, depth)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.places, std=0.02)
        nn.init.normal_(self.words.weight, std=0.05)
        self.words.weight.data[0] = 0

    def forward(self, ids: Tensor) -> Tensor:
        hidden = ids == 0
        return self.layers(self.words(ids) + self.places[: ids.shape[1]], src_key_padding_mask=hidden).masked_fill(hidden[..., None], 0.0)


class Pooled(nn.Module):
    """States [N, L, size], all zero at padding → their mean over real tokens [N, size]."""

    def forward(self, states: Tensor) -> Tensor:
        real = (states != 0).any(dim=-1).sum(dim=1, keepdim=True).clamp(min=1)
        return states.sum(dim=1) / real
