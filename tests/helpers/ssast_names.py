"""Our arrays of an SSAST under the names that its authors' files have, written out by hand for two layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

TIMM = {
    "attention_norm": "norm1",
    "qkv": "attn.qkv",
    "project": "attn.proj",
    "mlp_norm": "norm2",
    "expand": "mlp.fc1",
    "contract": "mlp.fc2",
}


def as_the_ssast_authors(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the heads, with everything that they save beside."""
    theirs = {
        "v.cls_token": ours["backbone.class_tokens"][:, :1],
        "v.dist_token": ours["backbone.class_tokens"][:, 1:],
        "v.pos_embed": ours["backbone.positions"],
        "v.head.weight": torch.zeros(1000, 192),
        "v.head.bias": torch.zeros(1000),
        "v.head_dist.weight": torch.zeros(1000, 192),
        "v.head_dist.bias": torch.zeros(1000),
    }
    for kind in ("weight", "bias"):
        theirs[f"v.patch_embed.proj.{kind}"] = ours[f"backbone.embed.{kind}"]
        theirs[f"v.norm.{kind}"] = ours[f"backbone.norm.{kind}"]
        for layer in (0, 1):
            for mine, name in TIMM.items():
                theirs[f"v.blocks.{layer}.{name}.{kind}"] = ours[f"backbone.layers.{layer}.{mine}.{kind}"]
    return theirs


def pretrained_file(ours: Mapping[str, Tensor], frames: int = 64) -> dict[str, Tensor]:
    """What is in the file of a pretrained SSAST."""
    theirs = as_the_ssast_authors(ours) | {
        "mask_embed": ours["mask_token"].view(1, 1, -1),
        "p_input_fdim": torch.tensor(128),
        "p_input_tdim": torch.tensor(frames),
    }
    for mine, name in (("discriminative", "cpredlayer"), ("generative", "gpredlayer")):
        for part in ("0.weight", "0.bias", "2.weight", "2.bias"):
            theirs[f"{name}.{part}"] = ours[f"{mine}.{part}"]
    return {f"module.{key}": value for key, value in theirs.items()}
