"""The transformer layer of SSAST and of the CNN + transformer hybrid, and activation checkpointing.

Shapes: B batch, P tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class TransformerLayer(nn.Module):
    """Map ``h_BPD`` to ``h_BPD``: self-attention, then two linear layers with GELU, each with a residual connection.

    ``norm_first=True`` is pre-norm (ViT), False is post-norm (BERT). ``dropout`` applies to the output of each branch,
    ``attention_dropout`` to the attention weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        norm_first: bool,
        norm_eps: float,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.norm_first, self.attention_dropout = heads, norm_first, attention_dropout
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=norm_eps)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def attend(self, h_BPD: Tensor) -> Tensor:
        """Compute the attention branch, without its norm."""
        qkv_BPD3 = self.qkv(h_BPD).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv_BPD3.permute(2, 0, 3, 1, 4)
        mixed_BHPd = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.attention_dropout if self.training else 0.0
        )
        return self.dropout(self.project(mixed_BHPd.transpose(1, 2).flatten(2)))

    def transform(self, h_BPD: Tensor) -> Tensor:
        """Compute the branch of the two linear layers, without its norm."""
        return self.dropout(self.contract(F.gelu(self.expand(h_BPD))))

    def forward(self, h_BPD: Tensor) -> Tensor:
        if self.norm_first:
            h_BPD = h_BPD + self.attend(self.attention_norm(h_BPD))
            return h_BPD + self.transform(self.mlp_norm(h_BPD))
        h_BPD = self.attention_norm(h_BPD + self.attend(h_BPD))
        return self.mlp_norm(h_BPD + self.transform(h_BPD))


def run_layers(layers: Iterable[nn.Module], h_BPD: Tensor, checkpoint_activations: bool) -> Tensor:
    """Run ``layers`` one after the other.

    ``checkpoint_activations`` stores only the input of each layer and recomputes the layer in the backward pass, with
    the same dropout. Results are the same, the work grows by a third, and memory holds the activations of one layer
    instead of all.
    """
    for layer in layers:
        if checkpoint_activations and torch.is_grad_enabled():
            h_BPD = cast(Tensor, checkpoint(layer, h_BPD, use_reentrant=False))
        else:
            h_BPD = layer(h_BPD)
    return h_BPD
