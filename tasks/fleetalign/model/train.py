"""Trains one shared network for all entities of one kind; which network and what its loss is: ``model.networks``.

Deterministic on CPU; a training that was killed and resumes from its checkpoint ends in the same bytes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fleetalign.config import ModelConfig, TrainingConfig
from fleetalign.config.build import for_network
from fleetalign.contracts.hashing import content_id
from fleetalign.detectors import detector
from fleetalign.detectors.detector import Network, Scratch
from fleetalign.detectors.views.period import find_period
from fleetalign.errors import BadInput, ConfigError
from fleetalign.model import checkpoint
from fleetalign.model.checkpoint import TrainingState
from fleetalign.model.runtime import choose_device, repeatable
from fleetalign.progress import Progress
from fleetalign.storage.panel import Panel
from fleetalign.storage.windows import split


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """``network`` on CPU in eval mode with its best weights; ``curve`` has one entry per finished epoch.

    ``untrained`` is the same network with the weights it started from: the control that says what training is worth.
    """

    network: Network
    untrained: Network
    period_steps: int | None
    curve: list[dict[str, Any]]
    best_epoch: int
    best_loss: float
    training_windows: int
    validation_windows: int


def train(
    panel: Panel,
    location: np.ndarray,
    scale: np.ndarray,
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

    Args: ``location``, ``scale`` float64 [entity, metric]; ``data_id`` names the panel's content in the checkpoint's
    fingerprint; ``scratch`` bounds memory (``model.networks``); ``save`` receives checkpoints, ``resume`` is one (ignored when it is of another config or data);
    ``on_epoch`` is called with (epoch, loss that chooses the weights) and may raise to stop.

    Without room for a validation part the training loss chooses the weights. Raises BadInput when there is no window,
    ConfigError when the loss diverges or the device is missing.
    """
    training = for_network(training, model.network)
    device = choose_device(training.device)
    with repeatable(model.seed, training.threads, device):
        run = _Training(
            panel, location, scale, model, training, device, _fingerprint(model, training, data_id), scratch
        )  # fmt: skip
        return run.run(save, resume, progress, on_epoch)


def _fingerprint(model: ModelConfig, training: TrainingConfig, data_id: str) -> str:
    settings = {name: value for name, value in asdict(training).items() if name != "checkpoint_every_batches"}
    return content_id({"model": asdict(model), "training": settings, "data": data_id})


class _Training:
    def __init__(
        self,
        panel: Panel,
        location: np.ndarray,
        scale: np.ndarray,
        model: ModelConfig,
        training: TrainingConfig,
        device: torch.device,
        fingerprint: str,
        scratch: Scratch = (512, None),
    ) -> None:
        self.kind = panel.kind
        self.model, self.settings, self.device, self.fingerprint = model, training, device, fingerprint
        steps = panel.values.shape[1]
        seasonal = model.network == "views" and model.seasonality
        self.period_steps = find_period(panel, location, scale, model.clip) if seasonal else None
        self.network = detector.create(model, training, self.period_steps)
        self.untrained = copy.deepcopy(self.network)
        self.windows, self.validation = split(panel, 0, steps, model.window_steps, training.validation_share)
        if not len(self.windows):
            raise BadInput(
                f"kind {panel.kind!r}: no entity has one full window of {model.window_steps} steps of training data "
                f"from {panel.start}Z on ({steps} steps); give a longer train range or a smaller model.window_steps"
            )
        self.batches = self.network.batches(panel, location, scale, scratch)
        self.module = self.network.module.to(device)
        self.optimizer = self.network.optimizer()
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
        while state.epoch < settings.epochs and state.epoch - state.best_epoch <= settings.patience:
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

    def _step(self, entity: np.ndarray, end: np.ndarray, done: float) -> None:
        """One gradient step on the windows (entity, end), ``done`` being the share of all steps before it."""
        if not len(entity):
            return
        random = np.random.default_rng([self.model.seed, self.state.epoch, self.state.batch])
        for group in self.optimizer.param_groups:
            group["lr"] = self.network.learning_rate(self.state.epoch, done)
        self.module.train()
        self.optimizer.zero_grad()
        loss, weight = self.network.loss(self._gather(entity, end), random)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.state.loss_sum += loss.item() * weight
        self.state.loss_weight += weight

    def _gather(self, entity: np.ndarray, end: np.ndarray) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self.batches.gather(entity, end).items()}

    def _finish_epoch(self) -> float:
        """Close the epoch: its losses, the best weights, the counters of the next one."""
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
        """Mean loss over the same validation windows every epoch; None without any."""
        if self.validation is None:
            return None
        self.module.eval()
        loss_sum = weight_sum = 0.0
        numbers = np.sort(self.validation.sample(self.settings.max_validation_windows, self.model.seed, 0))
        for entity, end in self.validation.places(numbers, self.settings.batch_size):
            if len(entity):
                loss, weight = self.network.loss(self._gather(entity, end), None)
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
            period_steps=self.period_steps,
            curve=state.curve,
            best_epoch=state.best_epoch,
            best_loss=float(state.best_loss or 0.0),
            training_windows=len(self.windows),
            validation_windows=len(self.validation) if self.validation is not None else 0,
        )
