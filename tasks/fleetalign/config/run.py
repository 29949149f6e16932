"""The settings of where and how to run, and ``Config``, which holds all sections.

The sections in ``BUILD_SECTIONS`` decide artifacts and are written into the plan (``fleetalign.config.build``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetalign.config.build import (
    AlignConfig,
    GatesConfig,
    ModelConfig,
    RangesConfig,
    TrainingConfig,
    changed,
    check,
    for_network,
)
from fleetalign.config.detectors import find
from fleetalign.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageConfig:
    """Access to the store and memory for telemetry."""

    checksums: Literal["when_supported", "when_required"] = "when_supported"
    """boto3's checksum mode; older S3-compatible stores need ``when_required``."""
    connect_timeout_seconds: float = 10.0
    """How long one connection attempt to S3 may take."""
    read_timeout_seconds: float = 60.0
    """How long S3 may pause in the middle of a response."""
    attempts: int = 5
    """Tries of one S3 request, including the first, with botocore's standard back-off."""
    scratch_dir: str = ""
    """Where panels larger than ``memory_mb`` are memory-mapped (default: the system's temporary directory)."""
    memory_mb: int = 512
    """Largest panel of telemetry held in memory; larger ones are memory-mapped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorConfig:
    """The fleet of the ``simulator`` source."""

    seed: int = 7
    """Seed of every random draw."""
    start: str = "2026-03-02"
    """First day (a Monday)."""
    days: int = 7
    """Days of telemetry."""
    entities: int = 24
    """Entities, over all kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """The source of telemetry and feedback."""

    type: str = "simulator"
    """Source of telemetry of the ingest DAG: ``simulator``, ``files``, ``spans``, ``prometheus``, or an installed source."""
    path: str = ""
    """File or folder of the ``files`` or ``spans`` source."""
    feedback_path: str = ""
    """Feedback file of the ``files``, ``spans`` or ``prometheus`` source: Parquet or CSV."""
    mapping_path: str = ""
    """YAML mapping of the ``files``, ``spans`` or ``prometheus`` source, see docs/data.md."""
    kind: str = ""
    """Kind of the ``files`` source if its mapping names none, kind of the ``spans`` source, and of feedback without a kind."""
    metrics: tuple[str, ...] = ()
    """Metric columns of the ``files`` source; empty = every numeric column."""
    ignore: tuple[str, ...] = ()
    """Columns of the ``files`` source that are not metrics."""
    prometheus_url: str = ""
    """Server of the ``prometheus`` source; empty = ``FLEETALIGN_PROMETHEUS_URL``, which suits passwords better."""
    prometheus_token_file: str = ""
    """File with the bearer token of the ``prometheus`` source."""
    prometheus_headers: dict[str, str] = field(default_factory=dict)
    """Headers of each request of the ``prometheus`` source, such as ``{"X-Scope-OrgID": "team-a"}`` for a tenant of Mimir,
    Cortex or Thanos; no secrets."""
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """The validation of telemetry."""

    data_docs: bool = True
    """Whether to write Great Expectations' static HTML too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseConfig:
    """The channel of releases and its expiry."""

    channel: str = "champion"
    """Channel that ``run`` and the promotion DAG move."""
    expires_after_hours: float = 48.0
    """Age at which a release expires that was neither replaced nor renewed."""
    warn_before_expiry_hours: float = 12.0
    """How long before the expiry ``fleet_health`` raises its alarm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryConfig:
    """The registry of data versions."""

    enabled: bool = True
    """Whether builds record their telemetry in the DVC registry."""
    git_remote: str = ""
    """URL of the data registry's git repository; empty = a bundle kept in the store."""
    author: str = "fleetalign"
    """Author of the registry's commits."""
    email: str = "fleetalign@localhost"
    """E-mail of the registry's commits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmitConfig:
    """The output of scores and alarms."""

    targets: tuple[str, ...] = ()
    """Where the scoring DAG sends scores and alarms, as in ``fleetalign score --emit``: ``NAME=WHERE``."""
    group_minutes: float = 15.0
    """How long after the first page of an incident another page may begin and still belong to it."""
    min_overlap: float = 0.5
    """Least share of common top metrics of two pages of one incident."""
    hold_hours: float = 26.0
    """How long a firing alert lasts if no run renews it or its entity sends no telemetry. Set it to more than the time
    between two runs."""
    silent_steps: dict[str, int] = field(default_factory=lambda: {"*": 12})
    """Samples that must be missing, or equal in all metrics, before an entity counts as silent or frozen, by kind. ``*``
    stands for all other kinds; 0 for kinds whose entities are short-lived, which are not watched."""

    def __post_init__(self) -> None:
        for kind, steps in self.silent_steps.items():
            check(steps >= 0, f"emit.silent_steps.{kind} is {steps}; must be 0 (not watched) or more")
        check(self.group_minutes >= 0, f"emit.group_minutes is {self.group_minutes}; must not be negative")
        check(0 <= self.min_overlap <= 1, f"emit.min_overlap is {self.min_overlap}; must be in [0, 1]")
        check(self.hold_hours > 0, f"emit.hold_hours is {self.hold_hours}; must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftLimits:
    """What counts as drift; docs/operate.md explains the defaults."""

    shift_scales: float = 1.0
    """An entity's metric has shifted when its mean over the day lies more than this many scales from its usual level."""
    max_shifted_share: float = 0.25
    """Largest share of a kind's entities that may have shifted, per metric; a single one of several never counts."""
    max_spread_ratio: float = 2.0
    """Largest standard deviation of a metric over the day, in scales, for the median entity."""
    max_clipped_rise: float = 0.01
    """Largest rise of a metric's share of clipped values above that of the control days."""
    max_score_ratio: float = 2.0
    """Largest factor between the 95 % quantile of scores and that of the control days, up or down, for the median entity."""
    max_new_share: float = 0.2
    """Largest share of the day's entities that the release does not know."""
    max_silent_share: float = 0.2
    """Largest share of the release's entities without telemetry all day."""

    def __post_init__(self) -> None:
        check(self.shift_scales > 0, f"drift.limits.shift_scales is {self.shift_scales}; must be above 0")
        for name in ("max_spread_ratio", "max_score_ratio"):
            check(getattr(self, name) > 1, f"drift.limits.{name} is {getattr(self, name)}; must be above 1")
        for name in ("max_shifted_share", "max_clipped_rise", "max_new_share", "max_silent_share"):
            share = getattr(self, name)
            check(0 <= share <= 1, f"drift.limits.{name} is {share}; must be in [0, 1]")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftConfig:
    """The check of ``fleetalign drift``."""

    control_days: int = 3
    """How many of the newest days that the release was built on are measured too, as control."""
    pretrain_when_drifted: bool = False
    """Whether ``pretrain_due`` starts a pre-training if the newest check of the champion found drift, once per model."""
    limits: DriftLimits = field(default_factory=DriftLimits)

    def __post_init__(self) -> None:
        check(self.control_days >= 0, f"drift.control_days is {self.control_days}; must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class CronsConfig:
    """When the DAGs run by themselves, as cron expressions in UTC."""

    ingest: str = "0 0 * * *"
    """When a partition closes and is ingested."""
    pretrain: str = "0 4 * * 1"
    """When the shared model is trained, due or not."""
    align: str = "0 5 * * *"
    """When entities are aligned to the newest feedback."""
    feedback: str = "*/15 * * * *"
    """When the inbox is read for statements of other tools."""
    drift: str = "0 3 * * *"
    """When the newest whole day is compared with the data that the champion was built on."""
    health: str = "0 * * * *"
    """When the channel's gauges are sent, and its alarm is raised if the release is about to expire."""
    gc: str = "0 6 * * 0"
    """When unreferenced objects of the store are collected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolsConfig:
    """Pools that limit how many tasks run at once."""

    gpu: str = "gpu"
    """Pool of the pre-training task."""
    align: str = "align"
    """Pool of the align shards."""
    dvc: str = "dvc"
    """Pool of the snapshot task; one slot, DVC locks its repository."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuPodConfig:
    """The pod of the pre-training task on Kubernetes."""

    limits: dict[str, str] = field(default_factory=dict)
    """Limits and requests, such as ``{"nvidia.com/gpu": "1"}``; empty = the executor's default pod."""
    image: str = ""
    """Image, with torch; empty = the executor's image."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels of the nodes that the pod may run on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifyConfig:
    """Who hears of a failed task."""

    email: tuple[str, ...] = ()
    """Addresses that get a mail."""
    smtp_conn_id: str = "smtp_default"
    """Connection of the mail server and the sender's address."""
    http_conn_id: str = ""
    """Connection of a webhook that gets JSON; empty = none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AirflowConfig:
    """Settings that the DAG files read while Airflow parses them."""

    min_new_partitions: int = 7
    """``pretrain_due`` starts a pre-training when this many partitions per kind are new."""
    max_cpu_hours: float = 0.0
    """An alignment that is expected to take more CPU hours is refused before it fans out; 0 = no limit."""
    gpu_queue: str = ""
    """Queue of the pre-training task; empty = the default queue."""
    gpu_executor: str = ""
    """Executor of the pre-training task; empty = the default executor."""
    retries: int = 2
    """Tries after the first, for errors that a retry may solve."""
    retry_delay_seconds: float = 30.0
    """Wait before a retry."""
    max_active_partitions: int = 7
    """Partitions ingested or validated at the same time."""
    approval_hours: float = 0.0
    """How long a promotion waits for an approval before the channel stays unchanged; 0 = promote without approval."""
    crons: CronsConfig = field(default_factory=CronsConfig)
    pools: PoolsConfig = field(default_factory=PoolsConfig)
    gpu_pod: GpuPodConfig = field(default_factory=GpuPodConfig)
    notify: NotifyConfig = field(default_factory=NotifyConfig)

    def __post_init__(self) -> None:
        check(
            self.approval_hours >= 0,
            f"airflow.approval_hours is {self.approval_hours}: give 0 (no approval) or more",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All settings."""

    partition: Literal["day", "hour"] = "day"
    """Length of one partition, the unit of ingest, validation and partition keys."""
    steps: dict[str, int] = field(default_factory=dict)
    """``step_seconds`` of each kind; a kind not listed here gets its most common spacing."""
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
    emit: EmitConfig = field(default_factory=EmitConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    airflow: AirflowConfig = field(default_factory=AirflowConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "training", for_network(self.training, self.model.network))
        check(
            self.align.method != "published_tpe" or "profile" in find(self.model.network).internals,
            f"align.method is published_tpe, which searches the condition C of sharead; model.network is "
            f"{self.model.network}: set it to sharead, or align.method to fleet_prior",
        )
        for name, value in changed(self.align.grid, foreign_candidates(self.model.network)).items():
            raise ConfigError(
                f"align.grid.{name} is {value}, but model.network is {self.model.network}, which has no such choice: "
                "remove it, or change the network"
            )

    def build_settings(self) -> dict[str, Any]:
        """Return the settings that decide artifacts as plain JSON values, for the plan."""
        return {name: plain(getattr(self, name)) for name in BUILD_SECTIONS}


def foreign_candidates(network: str) -> tuple[str, ...]:
    """Name the candidates of ``align.grid`` that the detector ``network`` does not choose from."""
    views = () if network == "views" else ("view_weights", "smoothings")
    conditions = () if find(network).condition_used else ("conditions", "default_condition")
    return views + conditions


BUILD_SECTIONS = ("ranges", "model", "training", "align", "gates")


def plain(value: Any) -> Any:
    """Convert dataclasses and tuples to JSON values."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value
