"""One gradient phase: a fresh Lightning Trainer over the remaining steps, checkpointed by the clock, resumable at any step."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from hdx.engine import ranks, stop
from hdx.engine._lightning import LightningEnvironment, TorchElasticEnvironment, pl
from hdx.engine.loader import PhaseLoader
from hdx.engine.state import load_phase, save_phase
from hdx.errors import ConfigError, Interrupted, RunError
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._phase import set_rate
from hdx.seeds import derive
from hdx.trainers.recipe import Recipe

REPORT_S = 0.5
PRECISION = {"32": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}


class Training(pl.LightningModule):
    """A method while it trains: only here is it Lightning's, so that a run that trains nothing never imports it.

    Args:
        method: that trains; phase: its current one.
        clip_norm: bound on the gradient of each step of a phase that `steps_itself`; Lightning clips that of the others.
    """

    def __init__(self, method: Method, phase: Phase, clip_norm: float | None) -> None:
        super().__init__()
        self.method, self.clip_norm = method, clip_norm
        self.automatic_optimization = not phase.steps_itself
        method.descends = self._descend

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The method's."""
        return self.method.training_step(batch, index)

    def configure_optimizers(self) -> Any:
        """The method's."""
        return self.method.configure_optimizers()

    def _descend(self, loss: Tensor, which: int) -> None:
        optimizer = cast("list[Any]", self.trainer.optimizers)[which]
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        if self.clip_norm is not None:
            self.clip_gradients(optimizer, gradient_clip_val=self.clip_norm, gradient_clip_algorithm="norm")
        optimizer.step()


@dataclass
class Control(pl.Callback):
    """Before a step: its seed and learning rate. After it: loss, progress, checkpoint, stop.

    Attributes:
        phase: what trains; recipe: its own or the run's.
        loader: whose `start` says where the phase resumes.
        file: the checkpoint inside the phase.
        seed, parts: of the streams.
        report: called with {step, steps, epoch, epochs, loss, images_per_s} about twice a second.
        resumed: what `load_phase` found.
        losses: of this epoch's steps; their mean is the loss that is shown, and at the end recorded.
    """

    phase: Phase
    recipe: Recipe
    loader: PhaseLoader
    file: Path
    seed: int
    parts: tuple[int, ...]
    report: Callable[[dict[str, Any]], None]
    resumed: dict[str, Any] | None
    step: int = 0
    loss: float | None = None
    losses: list[Tensor] = field(default_factory=list)

    def on_train_start(self, trainer: pl.Trainer, training: Any) -> None:
        """Take over the optimiser of the interrupted phase."""
        stop.keep_listening()
        self.counted = 0
        self.step, self.saved, self.reported = self.loader.start, time.monotonic(), time.monotonic()
        if self.resumed is not None:
            self._load_optimizers(trainer.optimizers, self.resumed["optimizers"])
            self.losses = list(self.resumed["losses"].to(trainer.strategy.root_device).unbind())
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            if scaler is not None and self.resumed["scaler"]:
                scaler.load_state_dict(self.resumed["scaler"])

    def _load_optimizers(self, optimizers: list[torch.optim.Optimizer], states: list[dict[str, Any]]) -> None:
        try:
            for optimizer, state in zip(optimizers, states, strict=True):
                optimizer.load_state_dict(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self.file}: the optimiser's state does not fit ({error}); delete the file to redo the phase"
            ) from None

    def on_train_batch_start(self, trainer: pl.Trainer, training: Any, batch: Batch, batch_idx: int) -> None:
        """Seed the step (dropout), set its rate: pure functions of the step."""
        if self.step % self.loader.steps_per_epoch == 0:
            self.losses.clear()
        _seed(derive(self.seed, "step", *self.parts, self.step, ranks.rank()))
        rate = self.recipe.rate(self.step / self.loader.total)
        for optimizer in trainer.optimizers:
            set_rate(optimizer, rate)

    def on_train_batch_end(self, trainer: pl.Trainer, training: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Count, report, save, stop."""
        self.step += 1
        if self.phase.after_step is not None:
            self.phase.after_step(self.step / self.loader.total)
        self.counted += len(batch.labels) * ranks.world()
        self.losses.append(outputs["loss"].detach())
        now, last = time.monotonic(), self.step == self.loader.total
        leave = ranks.any_rank(stop.requested())
        save = not last and (leave or now - self.saved >= self.recipe.checkpoint_seconds)
        if last or save or now - self.reported >= REPORT_S:
            self._report(self.counted / max(now - self.reported, 1e-9))
            self.reported, self.counted = now, 0
        if save:
            self._save(trainer, training.method)
            self.saved = time.monotonic()
        if leave and not last:
            ranks.barrier()  # no rank leaves while another one saves: torchrun would end it
            raise Interrupted("stopped inside a gradient phase")

    def _report(self, speed: float) -> None:
        self.loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(self.loss):
            raise RunError(
                f"the loss is {self.loss} after {self.step} of {self.loader.total} steps: training diverged; "
                "try a smaller trainer.lr, or trainer.clip_norm=1"
            )
        epochs = -(-self.loader.total // self.loader.steps_per_epoch)
        epoch = -(-self.step // self.loader.steps_per_epoch)
        self.report(
            {
                "step": self.step,
                "steps": self.loader.total,
                "epoch": epoch,
                "epochs": epochs,
                "loss": self.loss,
                "images_per_s": speed,
            }
        )

    def _save(self, trainer: pl.Trainer, method: Method) -> None:
        if ranks.rank() != 0 or method.classifier is None:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        save_phase(
            self.file,
            {
                "step": self.step,
                "body": method.body.changed_state(),
                "classifier": method.classifier.state_dict(),
                "beside": method.beside.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
                "scaler": scaler.state_dict() if scaler is not None else {},
                "losses": torch.stack(self.losses),
            },
        )


def fit(
    method: Method,
    phase: Phase,
    loader: PhaseLoader,
    *,
    file: Path,
    seed: int,
    parts: tuple[int, ...],
    device: torch.device,
    nodes: int,
    report: Callable[[dict[str, Any]], None],
) -> float | None:
    """Train `phase` to its end, from the checkpoint `file` where there is one.

    Args:
        method: on `device`; in eval mode and frozen again afterwards.
        loader: of this phase; `start` is set here.
        seed, parts: of the streams; nodes: the run's nodes.

    Returns: the mean loss of the last epoch, or None when nothing was left to do.
    Raises: Interrupted after a checkpoint, when the process was asked to stop; RunError when the loss is not finite.
    """
    _quiet()
    method.begin(phase)
    recipe = method.recipe_of(phase)
    resumed = load_phase(file, method, phase.classifier, loader.total)
    if resumed is not None:
        loader.start = int(resumed["step"])
        method.body.load_changed(resumed["body"])
        phase.classifier.load_state_dict(resumed["classifier"])
        method.beside.load_state_dict(resumed["beside"])
    phase.classifier.to(device)
    method.beside.to(device)
    if phase.steps_itself:
        _check_own_steps(method)
    method.body.activation_memory = recipe.activation_memory
    control = Control(phase, recipe, loader, file, seed, parts, report, resumed)
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=max(1, ranks.world() // nodes),
        num_nodes=nodes,
        strategy="ddp" if ranks.world() > 1 else "auto",
        plugins=[
            TorchElasticEnvironment() if ranks.world() > 1 else LightningEnvironment()
        ],  # not Slurm's: torchrun has the ranks
        precision=PRECISION[method.body.precision],  # type: ignore[arg-type]
        max_epochs=1,
        gradient_clip_val=None if phase.steps_itself else recipe.clip_norm,
        callbacks=[control],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method.train()
        trainer.fit(Training(method, phase, recipe.clip_norm), train_dataloaders=loader)
    method.to(device)
    method.descends = None
    beside = (buffer for buffer in method.beside.buffers() if buffer.is_floating_point())
    for buffer in (*method.body.buffers(), *beside):  # a norm's statistics are of each rank's own share
        ranks.copy_from_first(buffer)
    method.end()
    return control.loss


def _check_own_steps(method: Method) -> None:
    """Raises: ConfigError where a method that takes its own steps cannot: gradients would be neither averaged nor scaled."""
    name = type(method).__name__
    if ranks.world() > 1:
        raise ConfigError(f"method {name} takes its own optimiser steps and trains on one device, got {ranks.world()}: devices=1")
    if method.body.precision == "16-mixed":
        raise ConfigError(f"method {name} takes its own optimiser steps, which precision=16-mixed does not scale: precision=32")


def _seed(seed: int) -> None:
    """As torch.manual_seed, which formats a stack trace for each kind of device that is not in use: half of a small step."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _quiet() -> None:
    for name in (
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "pytorch_lightning.utilities.rank_zero",
        "lightning.pytorch",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
