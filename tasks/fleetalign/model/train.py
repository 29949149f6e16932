"""Trains one shared network for all entities of one kind.

Its detector defines the network and its loss.
Deterministic on CPU; a training that was killed and resumes from its checkpoint ends in the same bytes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from fleetalign.config import ModelConfig, TrainingConfig
from fleetalign.config.build import for_network
from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.contracts.hashing import content_id
from fleetalign.detectors.detector import Network
from fleetalign.detectors.registry import detector
from fleetalign.detectors.training import Scratch, Training
from fleetalign.errors import BadInput, ConfigError
from fleetalign.model import checkpoint
from fleetalign.model.checkpoint import TrainingState
from fleetalign.model.runtime import choose_device, repeatable
from fleetalign.progress import Progress
from fleetalign.storage.panel import Panel
from fleetalign.storage.windows import split


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network and the course of its training."""

    network: Network
    """On the CPU in eval mode, with its best weights."""
    untrained: Network
    """The same network with the weights it started from: the control that shows what training is worth."""
    curve: list[dict[str, float | int | None]]
    """One ``{"epoch", "train_loss", "validation_loss"}`` per finished epoch."""
    best_epoch: int
    """Epoch of the chosen weights, from 0; -1: nothing was trained."""
    best_loss: float
    training_windows: int
    validation_windows: int


def train(
    panel: Panel,
    location: Floats,
    scale: Floats,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    data_id: str = "",
    scratch: Scratch = (512, None),
    save: Callable[[bytes], None] | None = None,
    resume: bytes | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> TrainedModel:
    """Train on the whole time range of ``panel``, whose last part validates.

    Without room for a validation part the training loss chooses the weights. A detector without training gives its
    network as it is.

    Args:
        panel: telemetry of one kind in raw units.
        location: float64 [entity, metric], in raw units.
        scale: float64 [entity, metric], in raw units.
        model: settings of the network.
        training: settings of the training; what they leave open suits the detector.
        data_id: names the panel's content in the fingerprint of checkpoints.
        scratch: megabytes that one array may take in memory, and the folder of larger ones.
        save: receives checkpoints.
        resume: a checkpoint; ignored if it is of other settings or data.
        progress: called with (done, total, what).
        on_epoch: called with (epoch, loss that chooses the weights); may raise to stop.

    Raises:
        BadInput: there is no window.
        ConfigError: the loss diverges, the device is missing, or no detector has the name ``model.network``.
    """
    training = for_network(training, model.network)
    device = choose_device(training.device)
    with repeatable(model.seed, training.threads, device):
        chosen = detector(model.network)
        network = chosen.network(model, chosen.period(panel, location, scale, model))
        trainer = chosen.training(network, model, training)
        if trainer is None:
            network.module.eval()
            return TrainedModel(network, copy.deepcopy(network), [], -1, 0.0, 0, 0)
        fingerprint = _fingerprint(model, training, data_id)
        run = _Run(panel, location, scale, network, trainer, model, training, device, fingerprint, scratch)
        return run.run(save, resume, progress, on_epoch)


def _fingerprint(model: ModelConfig, training: TrainingConfig, data_id: str) -> str:
    settings = {name: value for name, value in asdict(training).items() if name != "checkpoint_every_batches"}
    return content_id({"model": asdict(model), "training": settings, "data": data_id})


class _Run:
    """One training from its start, or from a checkpoint, to the best weights."""

    def __init__(
        self,
        panel: Panel,
        location: Floats,
        scale: Floats,
        network: Network,
        trainer: Training,
        model: ModelConfig,
        settings: TrainingConfig,
        device: torch.device,
        fingerprint: str,
        scratch: Scratch,
    ) -> None:
        self.kind = panel.kind
        self.model, self.settings, self.device, self.fingerprint = model, settings, device, fingerprint
        self.network, self.trainer = network, trainer
        self.untrained = copy.deepcopy(network)
        steps = panel.values.shape[1]
        self.windows, self.validation = split(panel, 0, steps, model.window_steps, settings.research.validation_share)
        if not len(self.windows):
            raise BadInput(
                f"kind {panel.kind!r}: no entity has one full window of {model.window_steps} steps of training data "
                f"from {panel.start}Z on ({steps} steps); give a longer train range or a smaller model.window_steps"
            )
        self.batches = trainer.batches(panel, location, scale, scratch)
        self.module = network.module.to(device)
        self.optimizer = trainer.optimizer()
        self.best = copy.deepcopy(self.module.state_dict())
        self.state = TrainingState()

    def run(
        self,
        save: Callable[[bytes], None] | None,
        resume: bytes | None,
        progress: Progress | None,
        on_epoch: Callable[[int, float], None] | None,
    ) -> TrainedModel:
        settings, state = self.settings, self.state
        if resume is not None:
            restored = checkpoint.restore(resume, self.fingerprint, self.module, self.optimizer)
            if restored is not None:
                self.best, state = restored
                self.state = state
        drawn = min(settings.max_windows_per_epoch, len(self.windows))
        batches = math.ceil(drawn / settings.batch_size)
        while state.epoch < settings.epochs and state.epoch - state.best_epoch <= settings.research.patience:
            numbers = self.windows.sample(drawn, self.model.seed, state.epoch)
            for place in self.windows.places(numbers, settings.batch_size, skip=state.batch):
                done = state.epoch * batches + state.batch
                self._step(*place, done / (settings.epochs * batches))
                state.batch += 1
                if progress:
                    done = state.epoch * batches + state.batch
                    progress(done, settings.epochs * batches, f"train {self.kind}")
                if save and state.batch % settings.checkpoint_every_batches == 0 and state.batch < batches:
                    save(self._checkpoint())
            loss = self._finish_epoch()
            if save:
                save(self._checkpoint())
            if on_epoch:
                on_epoch(state.epoch - 1, loss)
        if progress:
            progress(settings.epochs * batches, settings.epochs * batches, f"train {self.kind}")
        return self._trained()

    def _step(self, entity: Ints, end: Ints, done: float) -> None:
        """Take one gradient step on the windows (entity, end).

        ``done`` is the share of all steps before it.
        """
        if not len(entity):
            return
        random = np.random.default_rng([self.model.seed, self.state.epoch, self.state.batch])
        for group in self.optimizer.param_groups:
            group["lr"] = self.trainer.learning_rate(self.state.epoch, done)
        self.module.train()
        self.optimizer.zero_grad()
        loss, weight = self.trainer.loss(self._gather(entity, end), random)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.research.gradient_clip)
        self.optimizer.step()
        self.state.loss_sum += loss.item() * weight
        self.state.loss_weight += weight

    def _gather(self, entity: Ints, end: Ints) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self.batches.gather(entity, end).items()}

    def _finish_epoch(self) -> float:
        """Close the epoch and return the loss that chooses the weights."""
        state = self.state
        if state.loss_weight == 0:
            raise BadInput(
                f"kind {self.kind!r}: no drawn window has a sample at its newest step; check the train range"
            )
        train_loss = state.loss_sum / state.loss_weight
        validation_loss = self._validate()
        loss = train_loss if validation_loss is None else validation_loss
        if not math.isfinite(loss):
            raise ConfigError(
                f"kind {self.kind!r}: the loss of epoch {state.epoch} is {loss}; lower training.learning_rate"
            )
        state.curve.append({"epoch": state.epoch, "train_loss": train_loss, "validation_loss": validation_loss})
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_epoch = loss, state.epoch
            self.best = copy.deepcopy(self.module.state_dict())
        state.epoch, state.batch, state.loss_sum, state.loss_weight = state.epoch + 1, 0, 0.0, 0.0
        return loss

    @torch.no_grad()
    def _validate(self) -> float | None:
        """Return the mean loss over the validation windows; None without any.

        They are the same ones in every epoch.
        """
        if self.validation is None:
            return None
        self.module.eval()
        loss_sum = weight_sum = 0.0
        numbers = np.sort(self.validation.sample(self.settings.max_validation_windows, self.model.seed, 0))
        for entity, end in self.validation.places(numbers, self.settings.batch_size):
            if len(entity):
                loss, weight = self.trainer.loss(self._gather(entity, end), None)
                loss_sum += loss.item() * weight
                weight_sum += weight
        return loss_sum / weight_sum if weight_sum else None

    def _checkpoint(self) -> bytes:
        return checkpoint.pack(self.module, self.best, self.optimizer, self.state, self.fingerprint)

    def _trained(self) -> TrainedModel:
        self.module.load_state_dict(self.best)
        for network in (self.network, self.untrained):
            network.module.cpu().eval()
        state = self.state
        return TrainedModel(
            network=self.network,
            untrained=self.untrained,
            curve=state.curve,
            best_epoch=state.best_epoch,
            best_loss=float(state.best_loss or 0.0),
            training_windows=len(self.windows),
            validation_windows=len(self.validation) if self.validation is not None else 0,
        )
