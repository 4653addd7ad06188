"""DeepSpeed's configuration for the engine, and what keeps its start short."""

from __future__ import annotations

import copyreg
from typing import Any


def deepspeed_settings(
    precision: str, zero_stage: int, clip_norm: float, group: int, accumulation: int
) -> dict[str, Any]:
    """DeepSpeed's configuration. A group is a micro-batch; masters and batch norm stay fp32 under autocast."""
    return {
        "train_micro_batch_size_per_gpu": group,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clip_norm,
        # DeepSpeed leaves weights of up to 100,000 numbers whole on every rank: most of an audio model's.
        "zero_optimization": {"stage": zero_stage, "stage3_param_persistence_threshold": 1_000},
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }


def use_no_kernels() -> None:
    """Keep DeepSpeed from probing every kernel that it knows and compiling one for inference on CPUs (half a minute).

    Training uses none of them; without this, every worker process pays for the probe.
    """
    import deepspeed.ops

    setattr(deepspeed.ops, "__compatible_ops__", {})  # noqa: B010  (a dunder name, which no type checker knows)


def write_stages_as_numbers() -> None:
    """Have DeepSpeed's files hold a stage of ZeRO as its number, as Python from 3.11.4 on writes it.

    Python before that writes a call of ``getattr``, which no reader of checkpoints may allow.
    """
    from deepspeed.runtime.zero.config import ZeroStageEnum

    copyreg.pickle(ZeroStageEnum, lambda stage: (ZeroStageEnum, (stage.value,)))


def checkpoint_classes() -> list[type]:
    """Return the classes that DeepSpeed's own checkpoint files hold beside tensors, numbers and text."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, ZeroStageEnum, fragment_address]
