"""Builds every key. Nothing else in the package concatenates a key.

User text (entity ids, metric names, notes) never becomes part of a key; kinds are checked against a pattern.
"""

from __future__ import annotations

import re
from datetime import datetime

from fleetalign.contracts.tables import KIND_PATTERN
from fleetalign.errors import UsageError
from fleetalign.interval import Granularity, Interval

LAYERS = ("raw", "validated")
CHANNEL_PATTERN = r"^[a-z0-9_-]{1,64}$"


def checked_kind(kind: str) -> str:
    if not re.fullmatch(KIND_PATTERN, kind):
        raise UsageError(f"kind {kind!r} must match {KIND_PATTERN}")
    return kind


def partition_path(kind: str, interval: Interval, granularity: Granularity) -> str:
    path = f"kind={checked_kind(kind)}/date={interval.start:%Y-%m-%d}"
    return path + (f"/hour={interval.start:%H}" if granularity == "hour" else "")


def telemetry(layer: str, kind: str | None = None) -> str:
    return f"telemetry/{layer}/" + (f"kind={checked_kind(kind)}/" if kind else "")


def telemetry_month(layer: str, kind: str, month: datetime) -> str:
    """Prefix of a kind's partitions of one month."""
    return f"{telemetry(layer, kind)}date={month:%Y-%m}"


def partition_prefix(layer: str, kind: str, interval: Interval, granularity: Granularity) -> str:
    return f"telemetry/{layer}/{partition_path(kind, interval, granularity)}/"


PARTITION_FILE = "_partition.json"
SOURCE_FILE = "_source.json"
"""Beside a raw partition: what a server was asked for it. Not hashed: it names a host and its version."""


def quarantine(what: str, kind: str, interval: Interval, granularity: Granularity) -> str:
    """``what`` is ``rows`` or ``cells``."""
    return f"quarantine/{what}/{partition_path(kind, interval, granularity)}/"


def quarantined_object(digest: str) -> str:
    return f"quarantine/objects/{digest}"


def validation_result(kind: str, interval: Interval, granularity: Granularity) -> str:
    return f"validation/{partition_path(kind, interval, granularity)}/result.json"


VALIDATIONS = "validation/kind="
DATA_DOCS = "validation/data_docs/"


def data_docs_of(result: str) -> str:
    """Prefix of the Data Docs pages about the validation whose result has this key."""
    return DATA_DOCS + result.removeprefix("validation/").removesuffix("result.json") + "validations/"


FEEDBACK = "feedback/"
MUTES = "mutes/"
MUTE_LIFTS = "mutes/lifts/"
FEEDBACK_INBOX = "inbox/feedback/"
"""Where other tools drop statements."""
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


def feedback_part(day: str, digest: str) -> str:
    return f"feedback/date={day}/{digest}.parquet"


def mutes_part(digest: str) -> str:
    return f"mutes/{digest}.parquet"


def mute_lift(digest: str) -> str:
    return f"mutes/lifts/{digest}.json"


def inbox_receipt(digest: str) -> str:
    """What became of one object of the inbox, so that it is not read twice."""
    return f"inbox/receipts/{digest}.json"


def plan(plan_id: str) -> str:
    return f"plans/{plan_id}.json"


def plan_input(digest: str) -> str:
    """Feedback or mutes as a plan saw them, content-named."""
    return f"plans/inputs/{digest}.parquet"


def receipt(plan_id: str, step: str) -> str:
    """What one step of a plan produced: ids and keys, written when the step is done."""
    return f"plans/{plan_id}/{step}.json"


def shard(plan_id: str, index: int) -> str:
    return f"plans/{plan_id}/shards/{index:05d}.parquet"


def control_shard(plan_id: str, index: int) -> str:
    """A shard aligned with the untrained network, for the entities that somebody spoke about."""
    return f"plans/{plan_id}/control/{index:05d}.parquet"


def control_table(plan_id: str, name: str) -> str:
    """``aligner`` or ``normalizer`` of the untrained control."""
    return f"plans/{plan_id}/control/{name}.parquet"


def checkpoint(plan_id: str, kind: str) -> str:
    return f"plans/{plan_id}/checkpoints/{checked_kind(kind)}.safetensors"


def model(model_id: str, name: str) -> str:
    return f"models/{model_id}/{name}"


def aligner(aligner_id: str) -> str:
    return f"aligners/{aligner_id}/aligner.parquet"


def normalizer(normalizer_id: str) -> str:
    return f"normalizers/{normalizer_id}/normalizer.parquet"


def release(release_id: str, name: str) -> str:
    """``name`` is ``manifest.json``, ``provenance.json``, ``report.html``, ``evaluation.json`` or ``mutes.parquet``."""
    return f"releases/{release_id}/{name}"


def promotion(release_id: str, champion_id: str | None) -> str:
    return f"promotions/{release_id}-vs-{champion_id or 'none'}.json"


def promotions_of(release_id: str) -> str:
    """Prefix of every verdict on a release."""
    return f"{PROMOTIONS}{release_id}-vs-"


def drift(release_id: str, day: str | None = None, name: str = "report.json") -> str:
    """What a release was found to be on a day (ISO date): ``report.json`` or ``report.html``. Without a day: all of them."""
    prefix = f"{DRIFT}{release_id}/"
    return prefix if day is None else f"{prefix}{day}/{name}"


def checked_channel(name: str) -> str:
    if not re.fullmatch(CHANNEL_PATTERN, name) or name == "history":
        raise UsageError(f"channel {name!r} must match {CHANNEL_PATTERN} and not be 'history'")
    return name


def firing(name: str) -> str:
    """What is firing of the alarms of a channel, or of a release that was named instead of one."""
    return f"emit/{checked_channel(name)}/firing.json"


def channel(name: str) -> str:
    return f"channels/{checked_channel(name)}.json"


def channel_history(name: str, sequence: int | None = None) -> str:
    prefix = f"channels/history/{checked_channel(name)}/"
    return prefix if sequence is None else f"{prefix}{sequence:08d}.json"
