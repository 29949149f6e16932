"""Builds every key of a store; no other module concatenates keys.

User text (entity ids, metric names, notes) never becomes part of a key; kinds are checked against a pattern.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fleetalign.contracts.tables import KIND_PATTERN
from fleetalign.errors import UsageError
from fleetalign.interval import Granularity, Interval

LAYERS = ("raw", "validated")
CHANNEL_PATTERN = r"^[a-z0-9_-]{1,64}$"


def checked_kind(kind: str) -> str:
    """Check the name of a kind.

    Raises:
        UsageError: It does not match KIND_PATTERN.
    """
    if not re.fullmatch(KIND_PATTERN, kind):
        raise UsageError(f"kind {kind!r} must match {KIND_PATTERN}")
    return kind


def partition_path(kind: str, interval: Interval, granularity: Granularity) -> str:
    """Return the path of a partition below a layer, a quarantine or a validation."""
    path = f"kind={checked_kind(kind)}/date={interval.start:%Y-%m-%d}"
    return path + (f"/hour={interval.start:%H}" if granularity == "hour" else "")


def telemetry(layer: str, kind: str | None = None) -> str:
    """Return the prefix of a layer (``raw`` or ``validated``), or of one kind in it."""
    return f"telemetry/{layer}/" + (f"kind={checked_kind(kind)}/" if kind else "")


def telemetry_month(layer: str, kind: str, month: datetime) -> str:
    """Return the prefix of a kind's partitions of one month."""
    return f"{telemetry(layer, kind)}date={month:%Y-%m}"


def partition_prefix(layer: str, kind: str, interval: Interval, granularity: Granularity) -> str:
    """Return the prefix of one partition."""
    return f"telemetry/{layer}/{partition_path(kind, interval, granularity)}/"


PARTITION_FILE = "_partition.json"
SOURCE_FILE = "_source.json"
"""Stored with a raw partition: the queries sent to a server. Not hashed, because it names a host and its version."""


def quarantine(what: str, kind: str, interval: Interval, granularity: Granularity) -> str:
    """Return the prefix of the quarantined ``rows`` or ``cells`` of a partition."""
    return f"quarantine/{what}/{partition_path(kind, interval, granularity)}/"


def quarantined_object(digest: str) -> str:
    """Return the key of a file that could not be used."""
    return f"quarantine/objects/{digest}"


def validation_result(kind: str, interval: Interval, granularity: Granularity) -> str:
    """Return the key of a partition's validation result."""
    return f"validation/{partition_path(kind, interval, granularity)}/result.json"


VALIDATIONS = "validation/kind="
DATA_DOCS = "validation/data_docs/"


def data_docs_of(result: str) -> str:
    """Return the prefix of the Data Docs about the validation whose result has this key."""
    return DATA_DOCS + result.removeprefix("validation/").removesuffix("result.json") + "validations/"


ATTRIBUTES = "attributes/"
ATTRIBUTE_FILES = "attributes/files/"
FEEDBACK = "feedback/"
MUTES = "mutes/"
MUTE_LIFTS = "mutes/lifts/"
FEEDBACK_INBOX = "inbox/feedback/"
"""Other tools put statements here."""
INBOX_RECEIPTS = "inbox/receipts/"
PLANS = "plans/"
MODELS = "models/"
ALIGNERS = "aligners/"
NORMALIZERS = "normalizers/"
RELEASES = "releases/"
PROMOTIONS = "promotions/"
CHANNELS = "channels/"
DRIFT = "drift/"
DVC = "dvc/"
REGISTRY_BUNDLE = "dvc/registry.bundle"


def attributes(kind: str, interval: Interval, granularity: Granularity) -> str:
    """Return the key of the attributes that the telemetry of a partition named."""
    return f"{ATTRIBUTES}{partition_path(kind, interval, granularity)}/attributes.parquet"


def attribute_file(at: datetime, digest: str) -> str:
    """Return the key of attributes that were imported from a file at an aware time.

    Keys sort by that time.
    """
    return f"{ATTRIBUTE_FILES}{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{digest}.parquet"


def feedback_part(day: str, digest: str) -> str:
    """Return the key of a part of the feedback recorded on a day."""
    return f"feedback/date={day}/{digest}.parquet"


def mutes_part(digest: str) -> str:
    """Return the key of a part of the mutes."""
    return f"mutes/{digest}.parquet"


def mute_lift(digest: str) -> str:
    """Return the key of the end of a mute."""
    return f"mutes/lifts/{digest}.json"


def inbox_receipt(digest: str) -> str:
    """Return the key of an inbox object's receipt, which keeps it from being read twice."""
    return f"inbox/receipts/{digest}.json"


def plan(plan_id: str) -> str:
    """Return the key of a plan."""
    return f"plans/{plan_id}.json"


def plan_input(digest: str) -> str:
    """Return the content-named key of the feedback or mutes that a plan uses."""
    return f"plans/inputs/{digest}.parquet"


def receipt(plan_id: str, step: str) -> str:
    """Return the key of a step's receipt, which holds the ids and keys of its artifacts."""
    return f"plans/{plan_id}/{step}.json"


def shard(plan_id: str, index: int) -> str:
    """Return the key of an aligned shard."""
    return f"plans/{plan_id}/shards/{index:05d}.parquet"


def control_shard(plan_id: str, index: int) -> str:
    """Return the key of a shard aligned with the untrained network, for entities with feedback."""
    return f"plans/{plan_id}/control/{index:05d}.parquet"


def control_table(plan_id: str, name: str) -> str:
    """Return the key of the untrained control's ``aligner`` or ``normalizer``."""
    return f"plans/{plan_id}/control/{name}.parquet"


def checkpoint(plan_id: str, kind: str) -> str:
    """Return the key of the training checkpoint of a kind."""
    return f"plans/{plan_id}/checkpoints/{checked_kind(kind)}.safetensors"


def model(model_id: str, name: str) -> str:
    """Return the key of a file of a model."""
    return f"models/{model_id}/{name}"


def aligner(aligner_id: str) -> str:
    """Return the key of an aligner table."""
    return f"aligners/{aligner_id}/aligner.parquet"


def normalizer(normalizer_id: str) -> str:
    """Return the key of a normalizer table."""
    return f"normalizers/{normalizer_id}/normalizer.parquet"


def release(release_id: str, name: str) -> str:
    """Return the key of a file of a release.

    ``name`` is ``manifest.json``, ``provenance.json``, ``report.html``, ``evaluation.json`` or ``mutes.parquet``.
    """
    return f"releases/{release_id}/{name}"


def promotion(release_id: str, champion_id: str | None) -> str:
    """Return the key of the verdict on a release against a champion (None: empty channel)."""
    return f"promotions/{release_id}-vs-{champion_id or 'none'}.json"


def promotions_of(release_id: str) -> str:
    """Return the prefix of every verdict on a release."""
    return f"{PROMOTIONS}{release_id}-vs-"


def drift(release_id: str, day: str | None = None, name: str = "report.json") -> str:
    """Return the key of a release's drift report of a day, or the prefix of all its reports.

    ``name`` is ``report.json`` or ``report.html``.
    """
    prefix = f"{DRIFT}{release_id}/"
    return prefix if day is None else f"{prefix}{day}/{name}"


def checked_channel(name: str) -> str:
    """Check the name of a channel.

    Raises:
        UsageError: It does not match CHANNEL_PATTERN or is reserved.
    """
    if not re.fullmatch(CHANNEL_PATTERN, name) or name == "history":
        raise UsageError(f"channel {name!r} must match {CHANNEL_PATTERN} and not be 'history'")
    return name


def firing(name: str) -> str:
    """Return the key of the firing alerts of a channel, or of a release that was scored by id."""
    return f"emit/{checked_channel(name)}/firing.json"


def channel(name: str) -> str:
    """Return the key of a channel's pointer."""
    return f"channels/{checked_channel(name)}.json"


def channel_history(name: str, sequence: int | None = None) -> str:
    """Return the key of one move of a channel, or the prefix of all its moves."""
    prefix = f"channels/history/{checked_channel(name)}/"
    return prefix if sequence is None else f"{prefix}{sequence:08d}.json"
