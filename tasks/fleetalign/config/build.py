"""The settings that decide artifacts, with their defaults and meanings.

They are written into the plan.

``fleetalign.config.run`` has the settings that say where and how to run, and ``Config``, which holds all sections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetalign.config.detectors import find
from fleetalign.errors import ConfigError


def check(condition: bool, message: str) -> None:
    """Raise ConfigError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class RangesConfig:
    """Which telemetry is used for what."""

    train: tuple[str, str] | None = None
    """``[start, end)`` as two ISO 8601 times. Set both ``train`` and ``calibrate``, or neither."""
    calibrate: tuple[str, str] | None = None
    """Range that thresholds are fitted on."""
    judge: tuple[str, str] | None = None
    """Range that the release is judged on; nothing is fitted there. Needs explicit ``train`` and ``calibrate``."""
    calibrate_share: float = 0.3
    """Without explicit ranges: ``calibrate`` is at least this share of the data."""
    history_days: int | None = None
    """Without explicit ranges: use only this many days before the newest partition's end."""

    def __post_init__(self) -> None:
        check((self.train is None) == (self.calibrate is None), "ranges: give both train and calibrate, or neither")
        check(self.judge is None or self.train is not None, "ranges: judge needs explicit train and calibrate")
        check(0 < self.calibrate_share < 1, f"ranges.calibrate_share is {self.calibrate_share}; must be in (0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewsConfig:
    """The settings of the detector ``views``; another detector refuses to have them changed."""

    blocks: int = 2
    """Hidden blocks; 0 makes it near-linear, the control that shows the value of depth."""
    seasonality: bool = True
    """Whether to look for a daily or weekly period in the training range."""

    def __post_init__(self) -> None:
        check(0 <= self.blocks <= 8, f"model.views.blocks is {self.blocks}; must be in [0, 8]")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareADConfig:
    """The settings of the detector ``sharead``; another detector refuses to have them changed."""

    latent_size: int = 8
    """H: width of each encoder's output per metric."""
    dropout: float = 0.2
    """Dropout during training."""
    learning_rate_decay: float = 0.5
    """``training.learning_rate`` is multiplied by this after each epoch."""
    drop_metric_share: float = 0.15
    """Share of (window, metric) pairs hidden during training."""

    def __post_init__(self) -> None:
        check(self.latent_size >= 1, f"model.sharead.latent_size is {self.latent_size}; must be at least 1")
        check(0 <= self.dropout <= 0.9, f"model.sharead.dropout is {self.dropout}; must be in [0, 0.9]")
        share = self.drop_metric_share
        check(0 <= share < 1, f"model.sharead.drop_metric_share is {share}; must be in [0, 1)")


DETECTOR_SECTIONS = ("views", "sharead")
"""Sections of ``model`` that belong to the detector of their name."""


def changed(section: Any, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the settings of ``section``, or those of ``names``, that differ from their default."""
    chosen = [f.name for f in dataclasses.fields(section)] if names is None else names
    values = {name: getattr(section, name) for name in chosen}
    defaults = type(section)()
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}


def _refuse_changed(section: Any, where: str, network: str) -> None:
    for name, value in changed(section).items():
        raise ConfigError(
            f"{where}.{name} is {value}, but model.network is {network}: remove it, or change the network"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network and its inputs."""

    network: str = "views"
    """The detector: ``views`` (docs/method.md), ``sharead``, the published one (He et al., TOSEM 2025), or one of an
    installed package (docs/detectors.md)."""
    window_steps: int = None  # type: ignore[assignment]  # filled in from the detector when the object is made
    """Samples of one window, and how long a new entity warms up. Empty = the network's own: 32 for ``views``, 100 for
    ``sharead``."""
    clip: float = 20.0
    """Standardised values are clipped to plus or minus this."""
    scale_floor: float = 0.01
    """A metric's scale is at least this share of the fleet's median scale of that metric."""
    seed: int = 11
    """Seed of weights, window sampling and dropout."""
    views: ViewsConfig = field(default_factory=ViewsConfig)
    sharead: ShareADConfig = field(default_factory=ShareADConfig)

    def __post_init__(self) -> None:
        suits = find(self.network).defaults
        if self.window_steps is None:
            object.__setattr__(self, "window_steps", suits.window_steps)
        check(8 <= self.window_steps <= 1024, f"model.window_steps is {self.window_steps}; must be in [8, 1024]")
        for section in DETECTOR_SECTIONS:
            if section != self.network:
                _refuse_changed(getattr(self, section), f"model.{section}", self.network)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResearchConfig:
    """Settings of research on training."""

    weight_decay: float = 1e-4
    """Adam's weight decay."""
    gradient_clip: float = 10.0
    """Largest gradient norm."""
    patience: int = 2
    """Stop after this many epochs without a better validation loss."""
    validation_share: float = 0.2
    """Share of ``train``, at its end and separated by one window, used to choose the epoch."""

    def __post_init__(self) -> None:
        share = self.validation_share
        check(0 <= share < 1, f"training.research.validation_share is {share}; must be in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The training of the network."""

    epochs: int = None  # type: ignore[assignment]  # this and the next three: filled in by for_network
    """Most epochs. Empty here and in the next three settings = the network's default (4, 256, 0.003 and 25,600 for
    ``views``; 4, 128, 0.001 and 40,000 for ``sharead``)."""
    batch_size: int = None  # type: ignore[assignment]  # see epochs
    """Windows of one batch."""
    learning_rate: float = None  # type: ignore[assignment]  # see epochs
    """Adam's learning rate: of the first epoch for ``sharead``, at the top of the cycle for ``views``."""
    max_windows_per_epoch: int = None  # type: ignore[assignment]  # see epochs
    """Training windows drawn per epoch, which limits the time for any size of fleet."""
    max_validation_windows: int = 8_000
    """Most windows used to compute the validation loss."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where to train; ``auto`` takes a GPU if there is one, ``cuda`` requires one."""
    threads: int = 1
    """CPU threads of the training. Only the same number guarantees equal bytes."""
    checkpoint_every_batches: int = 100
    """A killed training loses at most this many batches."""
    research: ResearchConfig = field(default_factory=ResearchConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads", "checkpoint_every_batches", "max_windows_per_epoch"):
            value = getattr(self, name)
            check(value is None or value >= 1, f"training.{name} is {value}; must be at least 1")


def for_network(training: TrainingConfig, network: str) -> TrainingConfig:
    """Fill in the settings that ``training`` leaves empty with the defaults of ``network``."""
    suits = find(network).defaults.training()
    suited: dict[str, Any] = {name: value for name, value in suits.items() if getattr(training, name) is None}
    return dataclasses.replace(training, **suited) if suited else training


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignGrid:
    """What alignment chooses from, and how it counts: settings of research."""

    conditions: tuple[int, ...] = (2, 6, 11, 21, 37, 60, 85, 100)
    """Candidate C of detectors with a condition (``sharead``); those above the window are dropped."""
    default_condition: int = 11
    """C before any feedback exists."""
    view_weights: tuple[tuple[float, float, float, float], ...] = (
        (1.0, 1.0, 0.5, 0.5),
        (1.0, 1.0, 1.0, 0.0),
        (0.25, 0.1, 0.25, 1.0),
    )
    """Candidate weights of the views recent, seasonal, residual and residual_square of ``views``, one choice for the fleet.
    The first is used until feedback shows that another is better."""
    smoothings: tuple[float, ...] = (0.3, 1.0)
    """Candidate smoothings of ``views``: share of the newest sample in the running mean (1 = no smoothing). The first is the
    default."""
    tail_probability_min: float = 1e-4
    """Smallest share of normal samples that may exceed a threshold."""
    tail_probability_max: float = 0.15
    """Largest such share."""
    tail_probability_count: int = 50
    """Points of the log-spaced grid between the two."""
    smooth: int = 5
    """Width of the moving average over the tail-probability grid for the choice of the shared value."""
    prior_weights: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """Candidate k: how many average entities the fleet counts for; leave-one-incident-out chooses."""
    tpe_trials: int = 50
    """Trials per entity of ``published_tpe``."""

    def __post_init__(self) -> None:
        for name in ("smooth", "tail_probability_count", "tpe_trials"):
            check(getattr(self, name) >= 1, f"align.grid.{name} is {getattr(self, name)}; must be at least 1")
        check(bool(self.prior_weights), "align.grid.prior_weights is empty; give at least one candidate k")
        check(
            all(k > 0 for k in self.prior_weights), f"align.grid.prior_weights is {self.prior_weights}; must be above 0"
        )
        check(
            0 < self.tail_probability_min < self.tail_probability_max < 1,
            "align.grid: need 0 < tail_probability_min < tail_probability_max < 1",
        )
        check(all(c >= 2 for c in self.conditions), "align.grid.conditions must be at least 2")
        check(
            bool(self.smoothings) and all(0.2 <= a <= 1 for a in self.smoothings),
            f"align.grid.smoothings is {self.smoothings}; give at least one, each in [0.2, 1]",
        )
        check(
            bool(self.view_weights) and all(min(w) >= 0 and max(w) > 0 for w in self.view_weights),
            "align.grid.view_weights: give at least one, none negative, not all 0",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignConfig:
    """The alignment: each entity's threshold and condition."""

    method: Literal["fleet_prior", "published_tpe"] = "fleet_prior"
    """``fleet_prior`` (docs/method.md), or the published search per entity."""
    objective: Literal["event_f1", "point_adjusted_f1", "event_f_beta", "page_budget"] = "event_f1"
    """The objective that alignment maximises on feedback."""
    beta: float = 1.0
    """Weight of recall in ``event_f_beta``."""
    pages_per_entity_day: float = 0.2
    """Page budget of the cold start, of unlabelled time, and of ``page_budget``."""
    max_pages_per_entity_day: float | None = None
    """Cap on the settings that feedback may choose: their pages without an incident stay within it, for every entity with
    feedback of its own and for the rest of the fleet as a whole. Empty = no cap."""
    quantile_days: float = 14.0
    """Threshold drift: a threshold moves towards the quantile of this many days of the entity's newest scores."""
    max_threshold_change_per_day: float = 0.02
    """Threshold drift: largest change per day, as a share of the threshold; 0 = fixed until feedback moves it."""
    merge_steps: int = 3
    """Alarms closer than this are one page."""
    min_history_steps: int = 200
    """Samples an entity needs before it gets its own location, scale and quantile."""
    entities_per_shard: int = 0
    """Entities of one mapped align task; 0 = about half a minute of work each, in at most 256 tasks. It changes no result.
    Airflow's ``core.max_map_length`` limits the number of tasks to 1,024 by default."""
    seed: int = 13
    """Seed of controls, bootstrap and TPE."""
    grid: AlignGrid = field(default_factory=AlignGrid)

    def __post_init__(self) -> None:
        check(
            self.entities_per_shard >= 0, f"align.entities_per_shard is {self.entities_per_shard}; 0 or more entities"
        )
        for name in ("merge_steps", "min_history_steps"):
            check(getattr(self, name) >= 1, f"align.{name} is {getattr(self, name)}; must be at least 1")
        cap = self.max_pages_per_entity_day
        check(cap is None or cap > 0, f"align.max_pages_per_entity_day is {cap}; must be above 0, or empty for no cap")
        check(self.quantile_days > 0, f"align.quantile_days is {self.quantile_days}; must be above 0")
        check(
            0 <= self.max_threshold_change_per_day <= 1,
            f"align.max_threshold_change_per_day is {self.max_threshold_change_per_day}; must be in [0, 1]",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GatesConfig:
    """The limits of the gates."""

    min_coverage: float = 0.9
    """Least share of entities with a row of their own (those ``new`` or ``gone`` do not count)."""
    max_pages_per_entity_day: float = 2.0
    """Most pages, true or false, per entity and day of the calibrate range."""
    bootstrap_samples: int = 1000
    """Resamples of the 95 % intervals."""
    must_beat_untrained: bool = False
    """Whether ``beats_untrained`` requires an event F1 above the untrained network's with its whole interval, instead of
    one that is not worse. That needs many incidents."""
    untrained_control: bool = True
    """Whether the untrained network is aligned and judged too, as a control, for entities with feedback."""
    max_judged_entities: int = 500
    """Most entities with feedback that quality is judged on (a seeded choice)."""
    max_pages_ratio_vs_champion: float = 3.0
    """A candidate may page at most this many times as often as the champion."""
