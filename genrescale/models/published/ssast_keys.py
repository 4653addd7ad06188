"""Rename the published weights of SSAST and AST to our names. Pure functions on state dicts.

Unknown names are left out, so the state dict of another model comes back empty; the caller reports what is missing.
Positions keep the grid that they were trained on; ``ssast.fit_positions`` resamples them to a model's grid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# Parts of a layer: timm's names (SSAST's authors), then those of transformers, in files and (since 5.0) in memory.
_LAYER_PARTS = {
    "norm1": "attention_norm",
    "attn.qkv": "qkv",
    "attn.proj": "project",
    "norm2": "mlp_norm",
    "mlp.fc1": "expand",
    "mlp.fc2": "contract",
    "layernorm_before": "attention_norm",
    "attention.output.dense": "project",
    "attention.o_proj": "project",
    "layernorm_after": "mlp_norm",
    "intermediate.dense": "expand",
    "output.dense": "contract",
}
_SSAST_PARTS = {
    "v.patch_embed.proj": "backbone.embed",
    "v.norm": "backbone.norm",
    "cpredlayer": "discriminative",
    "gpredlayer": "generative",
    "mlp_head.0": "head_norm",
    "mlp_head.1": "head",
}
_AST_PARTS = {
    "embeddings.patch_embeddings.projection": "backbone.embed",
    "layernorm": "backbone.norm",
    "classifier.layernorm": "head_norm",
    "classifier.dense": "head",
}
_SSAST_LAYER = re.compile(r"v\.blocks\.(\d+)\.(.+)\.(weight|bias)")
_AST_LAYER = re.compile(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)")
_AST_QKV = ("attention.attention.query", "attention.attention.key", "attention.attention.value")
_AST_QKV_IN_MEMORY = ("attention.q_proj", "attention.k_proj", "attention.v_proj")


def ssast_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of SSAST's authors, pretrained or fine-tuned, for SsastPretraining and SsastTagger.

    Their files prefix every name with ``module.``. Left out are DeiT's image heads, which are never used, and two
    numbers, ``p_input_fdim`` and ``p_input_tdim``.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    ours = _tokens(state, "v.cls_token", "v.dist_token", "v.pos_embed")
    if "mask_embed" in state:
        ours["mask_token"] = state["mask_embed"].flatten()
    return ours | _renamed(state, _SSAST_LAYER, _SSAST_PARTS)


def ast_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of transformers' ``ASTModel`` or ``ASTForAudioClassification`` for SsastTagger.

    Accepts the names of published files (``encoder.layer.0.attention.attention.query``) and the names that transformers
    5 uses in memory (``layers.0.attention.q_proj``).
    """
    state = {key.removeprefix("audio_spectrogram_transformer."): value for key, value in state.items()}
    embeddings = ("cls_token", "distillation_token", "position_embeddings")
    ours = _tokens(state, *(f"embeddings.{name}" for name in embeddings))
    for key in state:
        layer = _AST_LAYER.fullmatch(key)
        for names in (_AST_QKV, _AST_QKV_IN_MEMORY):
            if layer and layer[2] == names[0]:
                parts = [key.replace(names[0], name) for name in names]
                if all(part in state for part in parts):
                    ours[f"backbone.layers.{layer[1]}.qkv.{layer[3]}"] = torch.cat([state[part] for part in parts])
    return ours | _renamed(state, _AST_LAYER, _AST_PARTS)


def _tokens(state: Mapping[str, Tensor], first: str, second: str, positions: str) -> dict[str, Tensor]:
    """Return the two class tokens as one array, and the positions."""
    ours = {}
    if first in state and second in state:
        ours["backbone.class_tokens"] = torch.cat([state[first], state[second]], dim=1)
    if positions in state:
        ours["backbone.positions"] = state[positions]
    return ours


def _renamed(state: Mapping[str, Tensor], of_layer: re.Pattern[str], parts: dict[str, str]) -> dict[str, Tensor]:
    """Rename the arrays that correspond one to one."""
    ours = {}
    for key, value in state.items():
        if layer := of_layer.fullmatch(key):
            if layer[2] in _LAYER_PARTS:
                ours[f"backbone.layers.{layer[1]}.{_LAYER_PARTS[layer[2]]}.{layer[3]}"] = value
            continue
        for theirs, name in parts.items():
            if key.startswith(f"{theirs}."):
                ours[name + key.removeprefix(theirs)] = value
    return ours
