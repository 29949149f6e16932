"""Scores telemetry with a release and sends the result to its targets.

The scoring DAG and the command ``score`` share it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.emit.incidents import Incident, report_lines
from fleetalign.emit.send import emit, incidents_of
from fleetalign.emit.silence import Silence, find_silences
from fleetalign.emit.targets import Target
from fleetalign.errors import BadInput
from fleetalign.ingest.mapping import DEFAULT_KIND
from fleetalign.ingest.telemetry_files import TelemetryFiles
from fleetalign.interval import format_time
from fleetalign.scoring.context import earlier
from fleetalign.scoring.fit import fit
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """What one run of scoring found and where it was sent."""

    release_id: str
    samples: int
    alarms: int
    without_score: dict[str, int]
    """Number of samples without a score, by reason."""
    incidents: tuple[Incident, ...]
    """In order of start."""
    silences: tuple[Silence, ...]
    """Silent and frozen entities, sorted by kind, entity and start."""
    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()
    """What does not fit the release, and how much history is missing."""

    @property
    def scored(self) -> int:
        """Number of samples with a score."""
        return self.samples - sum(self.without_score.values())

    def require_a_score(self) -> None:
        """Raise BadInput when not one sample has a score."""
        if not self.scored:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.without_score.items())
            why = "; ".join(self.notes)
            raise BadInput(f"none of {self.samples} samples has a score ({reasons})" + (f": {why}" if why else ""))

    def as_json(self) -> dict[str, Any]:
        """Return counts and targets as one JSON document."""
        return {
            "release_id": self.release_id,
            "samples": self.samples,
            "alarms": self.alarms,
            "without_score": self.without_score,
            "incidents": [_incident(incident) for incident in self.incidents],
            "notes": list(self.notes),
            "silences": [_silence(one) for one in self.silences],
            "targets": [{"name": target.name, "where": target.where} for target in self.targets],
        }

    def text(self) -> str:
        """Totals, the newest incidents, and the targets."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.without_score.items())
        totals = f"{self.samples} samples scored by release {self.release_id}: {self.alarms} alarms"
        return "\n".join(
            [
                f"{totals}; without a score: {reasons or 'none'}",
                *report_lines(self.incidents),
                *(target.where for target in self.targets),
            ]
        )


def score_and_send(
    store: Store,
    config: Config,
    scorer: Scorer,
    telemetry: pa.Table,
    targets: Sequence[Target],
    start: datetime | None,
    now: datetime,
    end: datetime | None = None,
    unread: Collection[str] = (),
) -> Scored:
    """Score ``telemetry`` (timed at its slots) and send the scores to ``targets``.

    It logs a line for what is silent.

    Rows before ``start`` are context only, and so is the validated telemetry of ``store`` before the first row. What does
    not fit the release is logged. ``end`` and ``unread`` are those of ``find_silences``.

    Raises:
        BadInput: No row is of a kind of the release with one of its metrics; and as ``Scorer.score`` and ``emit``.
    """
    found = fit(scorer, telemetry)
    if not found.usable:
        raise BadInput("; ".join(found.doubts) or "there is no row to score")
    context = earlier(store, scorer, telemetry, start)
    notes = (*found.doubts, *context.missing)
    for note in notes:
        _log.warning("%s", note)
    scores = scorer.score(telemetry, start=start, contributions="alarms", context=context.rows, on_grid=True)
    silences = find_silences(scorer, telemetry, config.emit.silent_steps, start, end, unread)
    for line in silences.lines():
        _log.warning("%s", line)
    emit(store, scorer, scores, silences, targets, config, now)
    return Scored(
        release_id=scorer.release_id,
        samples=scores.num_rows,
        alarms=pc.sum(scores["alarm"]).as_py() or 0,
        without_score={c["values"]: c["counts"] for c in pc.value_counts(scores["reason"].drop_null()).to_pylist()},
        incidents=tuple(incidents_of(scorer, scores, config)),
        silences=tuple(silences.found),
        targets=tuple(targets),
        notes=notes,
    )


def score_files(
    store: Store,
    config: Config,
    files: TelemetryFiles,
    targets: Sequence[Target],
    *,
    channel: str,
    release_id: str | None,
    start: datetime | None,
    now: datetime,
) -> Scored:
    """Score files and send the scores to ``targets``.

    The release is ``release_id``, else the one that ``channel`` points to. Rows
    before ``start`` are context only. Files that name no kind have the kind of a release that knows a single one. Raises what
    ``Scorer.open``, ``TelemetryFiles.read`` and ``score_and_send`` raise.
    """
    scorer = Scorer.open(store, channel, release_id)
    telemetry = files.read(config)
    if not files.mapping.kind:
        telemetry = _of_the_only_kind(scorer, telemetry)
    return score_and_send(store, config, scorer, scorer.on_grid(telemetry), targets, start, now)


def _of_the_only_kind(scorer: Scorer, telemetry: pa.Table) -> pa.Table:
    """Give rows that name no kind the kind of a release that knows a single one."""
    if (
        len(scorer.kinds) != 1
        or DEFAULT_KIND in scorer.kinds
        or pc.unique(telemetry["kind"]).to_pylist() != [DEFAULT_KIND]
    ):
        return telemetry
    kind = pa.repeat(pa.scalar(scorer.kinds[0]), telemetry.num_rows)
    return telemetry.set_column(telemetry.schema.get_field_index("kind"), "kind", kind)


def _incident(incident: Incident) -> dict[str, Any]:
    return {
        "incident_id": incident.incident_id,
        "kind": incident.first.kind,
        "entities": list(incident.members),
        "start": format_time(incident.start),
        "end": format_time(incident.end),
        "pages": [page.page_id for page in incident.pages],
        "metrics": dict(incident.worst.metrics),
    }


def _silence(one: Silence) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "entity_id": one.entity_id,
        "reason": one.reason,
        "start": format_time(one.start),
        "end": None if one.lasts else format_time(one.end),
    }
