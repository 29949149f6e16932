"""Every setting, its default and what it means. ``fleetalign.config`` reads ``params.yaml`` into these.

Sections in ``BUILD_SECTIONS`` decide artifacts and go into the plan; the others only say where and how to run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetalign.errors import ConfigError


def check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageConfig:
    checksums: Literal["when_supported", "when_required"] = "when_supported"
    """boto3's checksum mode; older S3-compatible stores need ``when_required``."""
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    attempts: int = 5
    """Tries of one S3 request in all, with botocore's standard back-off."""
    scratch_dir: str = ""
    """Where panels larger than ``memory_mb`` are memory-mapped (default: the system's temporary directory)."""
    memory_mb: int = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    type: Literal["simulator", "files"] = "simulator"
    path: str = ""
    """File or folder of the ``files`` source."""
    feedback_path: str = ""
    mapping_path: str = ""
    """YAML mapping of the ``files`` source, see docs/data.md."""
    kind: str = ""
    """Kind of the ``files`` source when its mapping names none."""
    metrics: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    seed: int = 7
    """Seed of the ``simulator`` source."""
    start: str = "2026-03-02"
    """First day of the ``simulator`` source (a Monday)."""
    days: int = 7
    entities: int = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    max_abs_value: float = 1e18
    """Cells beyond are quarantined as ``too_large``: squares of larger values leave float64's useful range."""
    max_gap_steps: int = 100_000
    """A gap longer than this is an error of the clock, not an outage; the rows behind it are quarantined."""
    data_docs: bool = True
    """Also write Great Expectations' static HTML."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangesConfig:
    train: tuple[str, str] | None = None
    """``[start, end)`` as two ISO 8601 times. All of ``train`` and ``calibrate``, or neither."""
    calibrate: tuple[str, str] | None = None
    judge: tuple[str, str] | None = None
    calibrate_share: float = 0.3
    """Without explicit ranges: ``calibrate`` is at least this share of the data."""
    history_days: int | None = None
    """Without explicit ranges: use only this many days before the newest partition's end."""

    def __post_init__(self) -> None:
        check((self.train is None) == (self.calibrate is None), "ranges: give both train and calibrate, or neither")
        check(self.judge is None or self.train is not None, "ranges: judge needs explicit train and calibrate")
        check(0 < self.calibrate_share < 1, f"ranges.calibrate_share is {self.calibrate_share}; must be in (0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    network: Literal["sharead"] = "sharead"
    window_steps: int = 100
    latent_size: int = 8
    """H of the published network: width of each encoder's output per metric."""
    dropout: float = 0.2
    clip: float = 20.0
    """Standardised values are clipped to plus or minus this."""
    scale_floor: float = 0.01
    """A metric's scale is at least this share of the fleet's median scale of that metric."""
    seed: int = 11

    def __post_init__(self) -> None:
        check(8 <= self.window_steps <= 1024, f"model.window_steps is {self.window_steps}; must be in [8, 1024]")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    epochs: int = 4
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.5
    """The learning rate is multiplied by this after each epoch."""
    weight_decay: float = 1e-4
    gradient_clip: float = 10.0
    patience: int = 2
    """Stop after this many epochs without a better validation loss."""
    validation_share: float = 0.2
    """Last part of ``train``, separated by one window, used to choose the epoch."""
    max_windows_per_epoch: int = 40_000
    """Training windows drawn per epoch: bounds time whatever the fleet's size."""
    max_validation_windows: int = 8_000
    drop_metric_share: float = 0.15
    """Share of (window, metric) pairs hidden from the network while training."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    threads: int = 1
    checkpoint_every_batches: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignConfig:
    method: Literal["fleet_prior", "published_tpe"] = "fleet_prior"
    objective: Literal["event_f1", "point_adjusted_f1", "event_f_beta", "page_budget"] = "event_f1"
    beta: float = 1.0
    """Weight of recall in ``event_f_beta``."""
    conditions: tuple[int, ...] = (2, 6, 11, 21, 37, 60, 85, 100)
    """Candidate C; those above the window are dropped."""
    tail_probability_min: float = 1e-4
    tail_probability_max: float = 0.15
    tail_probability_count: int = 50
    smooth: int = 5
    """Width of the moving average over the tail-probability grid when the shared value is chosen."""
    prior_weights: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """Candidate k: how many average entities the fleet counts for; leave-one-incident-out chooses."""
    pages_per_entity_day: float = 0.2
    """Page budget of the cold start and of ``page_budget``."""
    default_condition: int = 11
    """C while nobody has said anything."""
    merge_steps: int = 3
    """Alarms closer than this are one page."""
    min_history_steps: int = 200
    """Samples an entity needs before it gets its own location, scale and quantile."""
    entities_per_shard: int = 50
    tpe_trials: int = 50
    seed: int = 13

    def __post_init__(self) -> None:
        check(self.entities_per_shard >= 1, "align.entities_per_shard must be at least 1")
        check(
            0 < self.tail_probability_min < self.tail_probability_max < 1,
            "align: need 0 < tail_probability_min < tail_probability_max < 1",
        )
        check(all(c >= 2 for c in self.conditions), "align.conditions must be at least 2")


@dataclass(frozen=True, kw_only=True, slots=True)
class GatesConfig:
    min_coverage: float = 0.9
    """Least share of entities that get a row of their own (not ``default`` or ``quarantined``)."""
    max_pages_per_entity_day: float = 2.0
    max_parity: float = 1e-5
    """Largest relative difference of the exported graph from its golden vectors."""
    bootstrap_samples: int = 1000
    shift_seeds: int = 20
    max_judged_entities: int = 500
    """Quality is judged on at most this many entities with feedback (a seeded choice)."""
    max_pages_ratio_vs_champion: float = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseConfig:
    channel: str = "champion"
    expires_after_hours: float = 48.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryConfig:
    enabled: bool = True
    git_remote: str = ""
    """URL of the data registry's git repository; empty = a bundle kept in the store."""
    author: str = "fleetalign"
    email: str = "fleetalign@localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class AirflowConfig:
    """What the DAG files read while they are parsed."""

    ingest_cron: str = "0 0 * * *"
    pretrain_cron: str = "0 4 * * 1"
    align_cron: str = "0 5 * * *"
    gc_cron: str = "0 6 * * 0"
    min_new_partitions: int = 7
    """``pretrain_due`` starts a pre-training when this many partitions per kind are new."""
    gpu_pool: str = "gpu"
    align_pool: str = "align"
    dvc_pool: str = "dvc"
    gpu_queue: str = ""
    """Queue of the pre-training task; empty = the default queue."""
    gpu_executor: str = ""
    retries: int = 2
    retry_delay_seconds: float = 30.0
    max_active_partitions: int = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    partition: Literal["day", "hour"] = "day"
    steps: dict[str, int] = field(default_factory=dict)
    """``step_seconds`` of each kind; a kind not named here gets its most common spacing."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    ranges: RangesConfig = field(default_factory=RangesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    gates: GatesConfig = field(default_factory=GatesConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    airflow: AirflowConfig = field(default_factory=AirflowConfig)

    def build_settings(self) -> dict[str, Any]:
        """The settings that decide artifacts, as plain JSON values: they go into the plan."""
        return {name: plain(getattr(self, name)) for name in BUILD_SECTIONS}


BUILD_SECTIONS = ("ranges", "model", "training", "align", "gates")


def plain(value: Any) -> Any:
    """Dataclasses and tuples as JSON values."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value
