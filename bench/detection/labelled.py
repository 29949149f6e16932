"""Labelled telemetry as a fleet lives through it: train, then feedback, then time to be judged on.

What methods and aligners may see is a ``Given``: telemetry, and labels of the feedback part. Labels of the judged part
live in a ``Truth``, which ``bench.judging`` alone takes: choosing anything on judged time would need an object that
nobody hands over.

Each entity's test part is cut on its own: its first 30 % is feedback, then a gap of one window of the largest network,
the rest is judged. An incident that straddles a cut belongs to neither side (contracts 1.4). Entities are moved in time
so that all test parts begin at the same grid step; they may begin and end whenever they like, and scores know nothing of
the calendar. Shapes: E entities, t samples of an entity's test part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fleetalign.contracts.feedback import ANOMALY, NORMAL, UNLABELLED, intervals
from fleetalign.errors import BadInput
from fleetalign.storage.panel import Panel

KEYS = ("entity_id", "timestamp", "split", "label")
FEEDBACK_SHARE = 0.3
GAP_STEPS = 100
"""Window of ``sharead``, the largest."""
FEW_SAMPLES = 60_000
EPOCH = np.datetime64("2024-01-01T00:00:00", "us")
"""Where the grid of every set begins, whatever its own dates."""


@dataclass(frozen=True)
class Given:
    """What a method may see. ``panel`` holds train and test telemetry; every test part begins at grid step ``start``.

    ``cut``, ``stop`` int64 [E]: grid steps where the feedback part and the test part of each entity end.
    ``feedback``: per entity labels int8 [cut - start], straddling incidents unlabelled.
    """

    name: str
    panel: Panel
    start: int
    cut: np.ndarray
    stop: np.ndarray
    feedback: tuple[np.ndarray, ...]

    @cached_property
    def training(self) -> Panel:
        """The telemetry before ``start``: no network, location or scale sees anything later."""
        p = self.panel
        last = np.minimum(p.last, self.start - 1)
        return Panel(p.kind, p.entity_ids, p.metrics, p.start, p.step_seconds, p.values[:, : self.start], p.first, last)

    @property
    def entities(self) -> int:
        return len(self.panel.entity_ids)

    @property
    def steps_per_day(self) -> float:
        return 86_400 / self.panel.step_seconds

    def test_steps(self, entity: int) -> int:
        return int(self.stop[entity]) - self.start

    def feedback_steps(self, entity: int) -> int:
        return int(self.cut[entity]) - self.start

    def incidents(self, entity: int) -> np.ndarray:
        """Return the incidents of the feedback part as half-open index pairs, int64 [G, 2]."""
        return intervals(self.feedback[entity] == ANOMALY)

    def subset(self, entities: Sequence[int]) -> Given:
        """Take some entities."""
        p, rows = self.panel, list(entities)
        ids = tuple(p.entity_ids[e] for e in rows)
        panel = Panel(p.kind, ids, p.metrics, p.start, p.step_seconds, p.values[rows], p.first[rows], p.last[rows])
        feedback = tuple(self.feedback[e] for e in rows)
        return Given(self.name, panel, self.start, self.cut[rows], self.stop[rows], feedback)


@dataclass(frozen=True, slots=True)
class Truth:
    """What figures are taken from. Per entity ``labels`` int8 [t] and ``judged`` bool [t]."""

    labels: tuple[np.ndarray, ...]
    judged: tuple[np.ndarray, ...]

    def subset(self, entities: Sequence[int]) -> Truth:
        return Truth(tuple(self.labels[e] for e in entities), tuple(self.judged[e] for e in entities))


def find(folder: Path) -> tuple[list[Path], list[str]]:
    """Parquet files of ``folder`` that are labelled telemetry, and the names of those that are not.

    Raises BadInput when there is none.
    """
    paths = sorted(Path(folder).glob("*.parquet"))
    found = [path for path in paths if set(KEYS) <= set(_schema(path).names)]
    if not found:
        raise BadInput(f"{folder}: no Parquet file with the columns {', '.join(KEYS)}; see docs/benchmarks.md")
    return found, [path.name for path in paths if path not in found]


def read(path: Path, few: bool = False) -> tuple[Given, Truth]:
    """One set; with ``few`` some of its entities, spread evenly over their sorted names (see ``_some``).

    Metrics are all other numeric columns. Raises BadInput when no entity has both a train and a later test part.
    """
    schema = _schema(path)
    metrics = [f.name for f in schema if f.name not in KEYS and _numeric(f.type)]
    table = pq.read_table(path, columns=[*KEYS, *metrics])
    ids = table["entity_id"].cast(pa.string())
    names = sorted(pc.unique(ids).to_pylist())
    if few:
        names = _some(names, table.filter(pc.equal(table["split"].cast(pa.string()), "test")).num_rows)
    series = [_Series.of(entity, table.filter(pc.equal(ids, entity)).sort_by("timestamp"), metrics) for entity in names]
    series = [one for one in series if one.test.any() and not one.test.all()]
    if not series or not metrics:
        raise BadInput(f"{path}: no entity has metrics and rows of both splits, train before test")
    return _assemble(path.stem, series, metrics)


@dataclass(frozen=True, slots=True)
class _Series:
    """Rows of one entity in time: ``micros`` int64, ``test`` bool, ``label`` int8, ``values`` float64 [row, metric]."""

    entity_id: str
    micros: np.ndarray
    test: np.ndarray
    label: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, entity_id: str, rows: pa.Table, metrics: Sequence[str]) -> _Series:
        micros = rows["timestamp"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        test = pc.equal(rows["split"].cast(pa.string()), "test").to_numpy()
        label = pc.fill_null(rows["label"].cast(pa.int8()), -1).to_numpy()
        columns = [rows[m].cast(pa.float64()).to_numpy(zero_copy_only=False) for m in metrics]
        values = np.stack(columns, axis=1) if columns else np.empty((len(micros), 0))
        # A train row after the test part began could only leak.
        keep = test | (micros < micros[test].min(initial=np.iinfo(np.int64).max))
        return cls(entity_id, micros[keep], test[keep], label[keep], values[keep])

    @property
    def begin(self) -> int:
        """When the test part begins, in microseconds."""
        return int(self.micros[self.test][0])


def _assemble(name: str, series: Sequence[_Series], metrics: Sequence[str]) -> tuple[Given, Truth]:
    step = int(np.median(np.concatenate([np.diff(one.micros) for one in series])))
    places = [np.rint((one.micros - one.begin) / step).astype(np.int64) for one in series]
    start = -min(int(place[0]) for place in places)
    lengths = [int(place[-1]) + 1 for place in places]
    values = np.full((len(series), start + max(lengths), len(metrics)), np.nan)
    feedback, labels, judged = [], [], []
    for row, (one, place, length) in enumerate(zip(series, places, lengths, strict=True)):
        values[row, start + place] = np.where(np.isfinite(one.values), one.values, np.nan)
        said = np.full(length, UNLABELLED, dtype=np.int8)
        said[place[one.test]] = one.label[one.test]
        cut = int(FEEDBACK_SHARE * length)
        feedback.append(own_side(said, 0, cut)[:cut])
        labels.append(said)
        judged.append(own_side(said, cut + GAP_STEPS, length) != UNLABELLED)
    kind = re.sub(r"[^a-z0-9_-]", "-", name.lower())[:64]
    first = start + np.array([place[0] for place in places])
    stop = start + np.array(lengths)
    ids = tuple(one.entity_id for one in series)
    panel = Panel(kind, ids, tuple(metrics), EPOCH, max(round(step / 1e6), 1), values, first, stop - 1)
    cut = start + np.array([len(one) for one in feedback])
    return Given(name, panel, start, cut, stop, tuple(feedback)), Truth(tuple(labels), tuple(judged))


def own_side(labels: np.ndarray, begin: int, end: int) -> np.ndarray:
    """``labels`` int8 [t], unlabelled outside ``[begin, end)`` and in incidents that lie only partly inside."""
    out = np.full(len(labels), UNLABELLED, dtype=np.int8)
    out[begin:end] = labels[begin:end]
    for a, b in intervals(labels == ANOMALY):
        if a < begin or b > end:
            out[a:b] = UNLABELLED
    return out


def describe(given: Given, truth: Truth) -> dict[str, Any]:
    """Sizes of a set, as JSON: what was trained on, said, and judged."""
    heard = [np.where(j, lab, UNLABELLED) for lab, j in zip(truth.labels, truth.judged, strict=True)]
    judged = sum(int(j.sum()) for j in truth.judged)
    return {
        "name": given.name,
        "entities": given.entities,
        "metrics": len(given.panel.metrics),
        "step_seconds": given.panel.step_seconds,
        "train_samples": int((given.training.last - given.training.first + 1).sum()),
        "feedback_samples": sum(given.feedback_steps(e) for e in range(given.entities)),
        "feedback_incidents": sum(len(given.incidents(e)) for e in range(given.entities)),
        "judged_samples": judged,
        "judged_days": judged / given.steps_per_day,
        "judged_incidents": sum(len(intervals(one == ANOMALY)) for one in heard),
        "entities_with_judged_incidents": sum(bool((one == ANOMALY).any()) for one in heard),
        "judged_anomaly_share": sum(int((one == ANOMALY).sum()) for one in heard) / max(judged, 1),
        "judged_normal_samples": sum(int((one == NORMAL).sum()) for one in heard),
    }


def _some(names: list[str], test_samples: int) -> list[str]:
    """3 to 8 entities with about ``FEW_SAMPLES`` test samples, but not more than half (two, if there are fewer)."""
    each = test_samples / len(names)
    count = min(8, max(3, int(FEW_SAMPLES // each)), max(2, -(-len(names) // 2)), len(names))
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, count).astype(int))]


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: {error}") from None


def _numeric(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
