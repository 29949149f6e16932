"""The pages of a decision with the metrics they name, from the scorer, the mutes and the pages that a user has.

Shapes: E entities, t samples of an entity's test part.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from bench.detection.decisions import Decision
from bench.detection.labelled import Given
from bench.detection.learned import Learned
from bench.detection.methods import Method
from fleetalign.config import AlignConfig
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.manifest import KindManifest
from fleetalign.contracts.pages import Page, find_pages
from fleetalign.contracts.tables import ALIGNER, DEFAULT_ENTITY, MUTES, NORMALIZER
from fleetalign.detectors.views.roles import SETTLE_STEPS
from fleetalign.evaluate import events
from fleetalign.model import normalizer
from fleetalign.scoring.kind_scorer import KindScorer, Series
from fleetalign.scoring.score_table import score_table

BATCH = 1024


def pages_between(
    learned: Learned,
    method: Method,
    decision: Decision,
    given: Given,
    parts: Sequence[tuple[int, int]],
    config: AlignConfig,
) -> list[Page]:
    """Find the pages of ``decision`` on ``method``, sorted by entity and start.

    ``parts`` is one half-open range for each entity, in samples of its test part.
    """
    scorer = _scorer(learned, method, decision, given)
    series, kept = [], []
    for e, (begin, end) in enumerate(parts):
        alarms = np.zeros(len(decision.alarms[e]), dtype=bool)
        alarms[begin:end] = decision.alarms[e][begin:end]
        wanted = np.zeros(given.start + len(alarms), dtype=bool)
        for a, b in given.start + events.pages(alarms, config.merge_steps):
            wanted[max(a - SETTLE_STEPS, 0) : b] = True  # what settles the graph's state comes first
        positions = np.flatnonzero(wanted)
        if len(positions):
            panel = given.panel
            series.append(Series(panel.entity_ids[e], panel.values[e], panel.times, int(panel.first[e]), positions))
            kept.append((positions >= given.start) & alarms[np.maximum(positions - given.start, 0)])
    if not series:
        return []
    scores = score_table(scorer, scorer.score_all(series, BATCH), contributions="alarms")
    steps = {given.panel.kind: given.panel.step_seconds}
    return find_pages(scores.filter(pa.array(np.concatenate(kept))), steps, config.merge_steps)


def position(given: Given, instant: datetime) -> int:
    """Find the sample of the test part that begins at ``instant``."""
    since = np.datetime64(instant.replace(tzinfo=None), "us") - given.panel.start
    return int(since / np.timedelta64(given.panel.step_seconds, "s")) - given.start


def _scorer(learned: Learned, method: Method, decision: Decision, given: Given) -> KindScorer:
    """Make the scorer of a release that holds ``decision``."""
    panel, card, numbers = given.panel, learned.card, learned.normalizer
    if learned.detector.fleet_statistics:
        chosen = zip(learned.detector.fleet_statistics, method.grid.candidates[decision.candidate], strict=True)
        numbers = normalizer.with_constants(numbers, dict(chosen))
    inputs = Graph(learned.model).inputs
    detector = learned.detector
    entry = KindManifest(
        model_id="", model="", golden="", network=method.name,
        window_steps=card["window_steps"],
        step_seconds=panel.step_seconds,
        metrics=tuple(panel.metrics),
        inputs=tuple(inputs),
        condition_used=card["condition_used"],
        seasonal_lags_steps=tuple(card["seasonal_lags_steps"]),
        statistics_columns=tuple(card["statistics_columns"]),
        state_size=detector.state_size,
        state_chains=detector.state_size is not None,
        state_settle_steps=detector.settle_steps,
    )  # fmt: skip
    return KindScorer(
        panel.kind,
        entry,
        learned.model,
        FleetTable.of(NORMALIZER, numbers),
        _aligner(method, decision, given),
        MUTES.empty(),
    )


def _aligner(method: Method, decision: Decision, given: Given) -> FleetTable:
    until = datetime.fromisoformat(str(given.panel.start)).replace(tzinfo=UTC)
    rows = [
        {
            "kind": given.panel.kind,
            "entity_id": entity_id,
            "condition": method.grid.conditions[candidate],
            "threshold": np.float32(threshold),
            "tail_probability": np.float32(tail),
            "state": "aligned",
            "reason": "own feedback",
            "incidents": 0,
            "calibrated_until": until,
        }
        for entity_id, (candidate, threshold), tail in zip(
            given.panel.entity_ids, decision.points, decision.tails, strict=True
        )
    ]
    # A scorer wants the row of the unknown; here everybody is known.
    rows.append(rows[0] | {"entity_id": DEFAULT_ENTITY, "state": "default"})
    return FleetTable.of(ALIGNER, pa.Table.from_pylist(rows, schema=ALIGNER.schema))
