"""How a run is optimised: OptimConfig and ContrastConfig."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from genrescale.config.checks import not_negative, one_of, positive, require

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("plateau", "constant", "cosine", "exponential")
# what ``best_by`` may choose checkpoints by; the first two are defined by the losses alone, without tags
LOSS_SELECTORS = ("val_loss", "gap")
SELECTORS = (*LOSS_SELECTORS, "val_roc_auc", "val_pr_auc", "val_accuracy")
# the word in ``freeze`` for every layer but the head
ALL_BUT_HEAD = "all_but_head"


@dataclass
class OptimConfig:
    """Optimiser, schedule and stopping rule. Steps, not epochs, so that every dataset size obeys the same rule.

    Validation runs every ``validate_every`` steps. Training stops after ``patience_steps`` steps without a better
    ``best_by`` (0: never); the best checkpoint by it is scored. ``gap`` is the one with the smallest difference between
    training and validation loss among those whose validation loss is near the lowest (``overfitting.select_step``); a
    later checkpoint may make an earlier one the best again, so it goes with neither patience nor plateaus, and a run
    keeps the weights of every one that still may be chosen. ``clip_norm`` 0 is no clipping.

    ``name``: ``adam`` (its ``weight_decay`` is an L2 penalty), ``adamw`` (decoupled decay), or ``sgd`` with Nesterov
    ``momentum``.

    ``schedule`` of the rate ``lr``: ``constant``; ``plateau``, multiplied by ``plateau_factor`` after
    ``plateau_steps`` steps without a better ``best_by`` (with ``plateau_resets`` false only a cut starts that wait
    anew, an improvement does not: musicnn-training); ``cosine``, to 0 at ``max_steps``; ``exponential``, multiplied
    by ``decay_factor`` at ``decay_start`` and every ``decay_every`` steps from there. Each may begin with
    ``warmup_steps`` of a linear rise.

    ``sgd_after`` steps of Adam, SGD with Nesterov ``momentum`` may take over from the best checkpoint: its rates are
    ``sgd_lrs``, ``sgd_lr_steps`` steps each, the last until the end (Won 2020: 0.001, 0.0001, 0.00001).

    ``layer_decay`` multiplies the rate of each layer below the head once more; ``backbone_lr`` (0: ``lr``) is the rate
    of all layers below the head instead. ``freeze`` names submodules (``frontend``, ``backend.conv``, or
    ``all_but_head``) that are not trained; their batch norms keep their statistics.

    A dial that the others leave without effect must have its default: ValueError.
    """

    name: str = "adam"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    max_steps: int = 10_000
    validate_every: int = 500
    best_by: str = "val_loss"
    patience_steps: int = 7_500
    schedule: str = "plateau"
    warmup_steps: int = 0
    plateau_steps: int = 2_500
    plateau_factor: float = 0.5
    plateau_resets: bool = True
    decay_start: int = 0
    decay_every: int = 0
    decay_factor: float = 0.85
    sgd_after: int = 0
    sgd_lrs: list[float] = field(default_factory=list)
    sgd_lr_steps: int = 0
    layer_decay: float = 1.0
    backbone_lr: float = 0.0
    freeze: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, OPTIMIZERS)
        one_of("optim.schedule", self.schedule, SCHEDULES)
        one_of("optim.best_by", self.best_by, SELECTORS)
        counts = ("max_steps", "validate_every", "plateau_steps")
        positive(**{name: getattr(self, name) for name in ("lr", *counts, "plateau_factor", "decay_factor")})
        may_be_0 = ("weight_decay", "clip_norm", "patience_steps", "warmup_steps", "decay_start", "decay_every")
        not_negative(**{name: getattr(self, name) for name in (*may_be_0, "sgd_after", "sgd_lr_steps", "backbone_lr")})
        for name in ("plateau_factor", "decay_factor", "layer_decay"):
            require(0 < getattr(self, name) <= 1, f"{name}={getattr(self, name)!r} must be above 0 and at most 1")
        require(0 <= self.momentum < 1, f"momentum={self.momentum!r} must be at least 0 and below 1")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas={self.betas} must be two numbers of at least 0 and below 1",
        )
        require(
            self.best_by != "gap" or (self.schedule != "plateau" and self.patience_steps == 0),
            f"best_by=gap cannot tell when training no longer improves: it needs patience_steps=0 (found "
            f"{self.patience_steps}) and another schedule than plateau (found {self.schedule})",
        )
        self._check_schedule()
        self._check_sgd_phase()
        self._check_layers()

    def _check_schedule(self) -> None:
        require(
            self.schedule != "exponential" or self.decay_every > 0,
            "schedule=exponential needs decay_every, in steps (an epoch is size / batch steps)",
        )
        require(
            self.warmup_steps < self.max_steps,
            f"warmup_steps={self.warmup_steps} must be fewer than max_steps={self.max_steps}",
        )
        for schedule in ("plateau", "exponential"):
            prefix = {"plateau": "plateau_", "exponential": "decay_"}[schedule]
            if self.schedule != schedule:
                self._unused(prefix, f"with schedule={self.schedule}: it is of schedule={schedule}")

    def _check_sgd_phase(self) -> None:
        if self.name == "sgd":
            self._unused("betas", "with name=sgd")
        elif not self.sgd_after:
            self._unused("momentum", f"with name={self.name} and without sgd_after")
        if not self.sgd_after:
            self._unused("sgd_", "without sgd_after, the step at which SGD takes over")
            return
        require(self.name != "sgd", "sgd_after is for name=adam or adamw: name=sgd is SGD from the first step")
        require(
            self.validate_every <= self.sgd_after < self.max_steps,
            f"sgd_after={self.sgd_after} must leave a validation before it (validate_every={self.validate_every}), "
            f"whose best checkpoint SGD takes over, and steps behind it (max_steps={self.max_steps})",
        )
        require(
            len(self.sgd_lrs) > 0 and all(math.isfinite(rate) and rate > 0 for rate in self.sgd_lrs),
            f"sgd_after needs sgd_lrs, rates greater than 0, e.g. [0.001, 0.0001, 0.00001]; found {self.sgd_lrs}",
        )
        require(
            (len(self.sgd_lrs) > 1) == (self.sgd_lr_steps > 0),
            f"sgd_lr_steps={self.sgd_lr_steps} must say how long each of several sgd_lrs lasts, and be 0 for one; "
            f"found {self.sgd_lrs}",
        )
        require(
            self.schedule == "constant" and self.patience_steps == 0,
            f"sgd_after needs schedule=constant and patience_steps=0 (found {self.schedule} and {self.patience_steps}):"
            " another schedule would be cut off by SGD, and patience might stop the run before SGD begins",
        )
        require(
            self.warmup_steps < self.sgd_after,
            f"warmup_steps={self.warmup_steps} must end before sgd_after={self.sgd_after}",
        )

    def _check_layers(self) -> None:
        require(
            self.layer_decay == 1 or self.backbone_lr == 0,
            f"layer_decay={self.layer_decay} and backbone_lr={self.backbone_lr} both set the rates below the head; "
            "use one of them",
        )
        require(
            len(set(self.freeze)) == len(self.freeze) and all(self.freeze),
            f"freeze={self.freeze} must hold names of submodules, none twice",
        )
        require(
            ALL_BUT_HEAD not in self.freeze
            or (len(self.freeze) == 1 and self.layer_decay == 1 and not self.backbone_lr),
            f"freeze=[{ALL_BUT_HEAD}] leaves the head alone to be trained: no other name, layer_decay or backbone_lr",
        )

    def _unused(self, prefix: str, why: str) -> None:
        """Raise ValueError if a field whose name starts with ``prefix`` has another value than its default."""
        default = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(self)}
        for name, value in default.items():
            if name.startswith(prefix) and getattr(self, name) != value:
                raise ValueError(f"{name}={getattr(self, name)} has no effect {why}; leave it at its default, {value}")


@dataclass
class ContrastConfig:
    """Contrastive domain adaptation (Kroher et al. 2024): ``weight`` of the contrastive loss, the rest is the loss.

    ``weight`` 0 is none of it; the paper has 0.7 and ``margin`` 2. It needs a mix (``jobs/mix_corpora.py``): songs of
    its first corpus are the real ones, to which all clips of their class are drawn; the others are synthetic.
    """

    weight: float = 0.0
    margin: float = 2.0

    def __post_init__(self) -> None:
        require(0 <= self.weight < 1, f"contrast.weight={self.weight!r} must be at least 0 and below 1")
        positive(margin=self.margin)
        require(
            self.weight > 0 or self.margin == 2.0,
            f"contrast.margin={self.margin} has no effect with contrast.weight=0",
        )
