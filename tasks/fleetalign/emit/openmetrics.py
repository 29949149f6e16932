"""The newest sample of every entity as OpenMetrics text.

It is made for a scrape or node_exporter's textfile collector.

Gauges only: the text is valid in the older Prometheus format too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import DEFAULT_ENTITY
from fleetalign.emit.labels import as_labels
from fleetalign.emit.silence import Silence

Samples = Iterable[tuple[dict[str, str], float]]


def render(
    scores: pa.Table,
    aligner: FleetTable,
    release_id: str,
    silences: Sequence[Silence] = (),
    attributes: Attributes | None = None,
) -> bytes:
    """Write OpenMetrics 1.0 text of ``scores`` (SCORES, sorted) and of lasting silences.

    Each scored entity has values of its aligner row. Its attributes are labels of one gauge, so that a change of theirs
    ends no other series; a query joins them with ``* on (kind, entity_id) group_left (team) fleetalign_entity_info``.
    """
    newest = _newest(scores)
    scored = [row for row in newest if row["reason"] is None]
    judged = [row for row in newest if row["reason"] != "unknown_kind"]
    by_entity = _aligner_rows(aligner, judged)
    aligned = [(row, _aligner_row(by_entity, row)) for row in judged]
    lasting = [one for one in silences if one.lasts]
    named = {(r["kind"], r["entity_id"]) for r in newest} | {(one.kind, one.entity_id) for one in lasting}
    families = [
        _family("score", "How badly the newest sample is explained.", ((_key(r), r["score"]) for r in scored)),
        _family("margin", "Score beyond the threshold; an alarm is above 0.", ((_key(r), r["margin"]) for r in scored)),
        _family("alarm", "1 when the newest sample alarms.", ((_key(r), r["alarm"]) for r in scored)),
        _family(
            "unscored",
            "1 when the newest sample has no score, and why.",
            (({**_key(r), "reason": r["reason"]}, 1) for r in newest if r["reason"] is not None),
        ),
        _family(
            "sample_timestamp_seconds",
            "Time of the newest sample.",
            ((_key(r), r["timestamp"].timestamp()) for r in newest),
            unit="seconds",
        ),
        _family("threshold", "Threshold Q of the entity.", ((_key(r), a["threshold"]) for r, a in aligned)),
        _family(
            "threshold_state",
            "1 for the state of the entity's aligner row.",
            (({**_key(r), "state": a["state"]}, 1) for r, a in aligned),
        ),
        _family(
            "silent",
            "1 while an entity, or with * its whole kind, sends nothing (silent) or the same values (frozen).",
            (({"kind": one.kind, "entity_id": one.entity_id, "reason": one.reason}, 1) for one in lasting),
        ),
        _family(
            "entity_info",
            "1, with the attributes of the entity as labels.",
            (
                ({**labels, "kind": kind, "entity_id": entity_id}, 1)
                for kind, entity_id in sorted(named)
                if attributes and (labels := as_labels(attributes.of(kind, entity_id)))
            ),
        ),
        _family("release", "1 for the release that scored.", [({"release": release_id}, 1)]),
    ]
    return ("".join(line + "\n" for family in families for line in family) + "# EOF\n").encode()


def _newest(scores: pa.Table) -> list[dict[str, Any]]:
    """Take the last row of every entity of a table sorted by kind, entity and time."""
    codes = [scores[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("kind", "entity_id")]
    last = np.logical_or.reduce([np.diff(code, append=-1) != 0 for code in codes])
    return list(scores.take(pa.array(np.flatnonzero(last))).to_pylist())


def _aligner_rows(aligner: FleetTable, judged: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Read the aligner rows of the entities of ``judged`` and the default rows of their kinds."""
    ids: dict[str, set[str]] = {}
    for row in judged:
        ids.setdefault(row["kind"], {DEFAULT_ENTITY}).add(row["entity_id"])
    found = [row for kind, mine in ids.items() for row in aligner.rows(kind, mine).to_pylist()]
    return {(row["kind"], row["entity_id"]): row for row in found}


def _aligner_row(by_entity: dict[tuple[str, str], dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    default = by_entity[row["kind"], DEFAULT_ENTITY]
    own = by_entity.get((row["kind"], row["entity_id"]), default)
    return default if own["threshold"] is None or own["condition"] is None else own


def _key(row: dict[str, Any]) -> dict[str, str]:
    return {"kind": row["kind"], "entity_id": row["entity_id"]}


def _family(name: str, meaning: str, samples: Samples, unit: str = "") -> Iterator[str]:
    name = f"fleetalign_{name}"
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    for labels, value in samples:
        text = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"{name}{{{text}}} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
