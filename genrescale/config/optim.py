"""Configuration of the optimisation: OptimConfig and ContrastConfig."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from genrescale.config.checks import not_negative, one_of, positive, require

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("plateau", "constant", "cosine", "exponential")
# values of ``best_by``; the first two need only the losses, no tags
LOSS_SELECTORS = ("val_loss", "gap")
SELECTORS = (*LOSS_SELECTORS, "val_roc_auc", "val_pr_auc", "val_accuracy")
# in ``freeze``: every layer but the head
ALL_BUT_HEAD = "all_but_head"


@dataclass
class OptimConfig:
    """Optimiser, learning-rate schedule and stopping rule, in steps, so that every dataset size follows the same rule.

    Validation runs every ``validate_every`` steps. Training stops after ``patience_steps`` steps without improvement of
    ``best_by`` (0: never stops early), and the best checkpoint by ``best_by`` is scored. ``best_by=gap`` chooses the
    smallest gap between training and validation loss among checkpoints whose validation loss is near the lowest
    (``overfitting.select_step``). A later checkpoint may make an earlier one the best again, so ``gap`` works neither
    with patience nor with plateaus, and a run keeps the weights of every checkpoint that may still be chosen.
    ``clip_norm`` 0 disables gradient clipping.

    ``name``: ``adam`` (``weight_decay`` is an L2 penalty), ``adamw`` (decoupled decay), or ``sgd`` with Nesterov
    ``momentum``.

    ``schedule`` of the rate ``lr``:

    - ``constant``;
    - ``plateau``: multiplied by ``plateau_factor`` after ``plateau_steps`` steps without improvement of ``best_by``.
      With ``plateau_resets`` false, the wait restarts only after a reduction, not after an improvement, as in
      musicnn-training;
    - ``cosine``: decays to 0 at ``max_steps``;
    - ``exponential``: multiplied by ``decay_factor`` at step ``decay_start`` and every ``decay_every`` steps from
      there.

    Each may start with a linear warm-up of ``warmup_steps``.

    After ``sgd_after`` steps of Adam, SGD with Nesterov ``momentum`` continues from the best checkpoint. Its rates are
    ``sgd_lrs``, for ``sgd_lr_steps`` steps each, the last until the end (Won 2020: 0.001, 0.0001, 0.00001). 0 disables
    this.

    ``layer_decay`` multiplies the rate once for each layer below the head. Or ``backbone_lr`` sets one rate for all
    layers below the head (0: ``lr``). ``freeze`` names submodules (``frontend``, ``backend.conv``, or ``all_but_head``)
    that are not trained; their batch norms keep their statistics.

    Raises ValueError for a dial that has no effect under the others and is not at its default.
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
            f"best_by=gap cannot detect that training no longer improves: set patience_steps=0 (now "
            f"{self.patience_steps}) and a schedule other than plateau (now {self.schedule})",
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
                self._unused(prefix, f"with schedule={self.schedule}, only with schedule={schedule}")

    def _check_sgd_phase(self) -> None:
        if self.name == "sgd":
            self._unused("betas", "with name=sgd")
        elif not self.sgd_after:
            self._unused("momentum", f"with name={self.name} and without sgd_after")
        if not self.sgd_after:
            self._unused("sgd_", "without sgd_after, the step at which SGD takes over")
            return
        require(self.name != "sgd", "sgd_after needs name=adam or adamw: name=sgd already is SGD from the first step")
        require(
            self.validate_every <= self.sgd_after < self.max_steps,
            f"sgd_after={self.sgd_after} must be at least validate_every={self.validate_every}, as SGD starts from the "
            f"best validated checkpoint, and less than max_steps={self.max_steps}",
        )
        require(
            len(self.sgd_lrs) > 0 and all(math.isfinite(rate) and rate > 0 for rate in self.sgd_lrs),
            f"sgd_after needs sgd_lrs, rates greater than 0, e.g. [0.001, 0.0001, 0.00001]; got {self.sgd_lrs}",
        )
        require(
            (len(self.sgd_lrs) > 1) == (self.sgd_lr_steps > 0),
            f"sgd_lr_steps={self.sgd_lr_steps} must be the number of steps of each rate if there are several sgd_lrs, "
            f"and 0 if there is one; got sgd_lrs={self.sgd_lrs}",
        )
        require(
            self.schedule == "constant" and self.patience_steps == 0,
            f"sgd_after needs schedule=constant and patience_steps=0 (now {self.schedule} and {self.patience_steps}):"
            " SGD would cut off another schedule, and patience might stop the run before SGD starts",
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
            f"freeze={self.freeze} must hold names of submodules, without repetition",
        )
        require(
            ALL_BUT_HEAD not in self.freeze
            or (len(self.freeze) == 1 and self.layer_decay == 1 and not self.backbone_lr),
            f"freeze=[{ALL_BUT_HEAD}] trains the head only: remove other names in freeze, layer_decay and backbone_lr",
        )

    def _unused(self, prefix: str, why: str) -> None:
        """Raise ValueError if a field whose name starts with ``prefix`` is not at its default."""
        default = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(self)}
        for name, value in default.items():
            if name.startswith(prefix) and getattr(self, name) != value:
                raise ValueError(f"{name}={getattr(self, name)} has no effect {why}; leave it at its default, {value}")


@dataclass
class ContrastConfig:
    """Contrastive domain adaptation (Kroher et al. 2024): the total is weight x contrastive + (1 - weight) x loss.

    ``weight`` 0 disables it; the paper has 0.7 and ``margin`` 2. It needs a mix (``jobs/mix_corpora.py``). Songs of the
    first corpus are the real ones, towards which all clips of the same class are pulled; those of the other corpora are
    synthetic.
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
