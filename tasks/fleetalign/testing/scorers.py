"""Conformance suite of scorers: a pytest class to subclass with your own ``score``.

::

    class TestMyScorer(ScorerConformance):
        def score(self, store_uri, release_id, telemetry):
            return run_my_scorer(store_uri, release_id, telemetry)   # a pyarrow table with the columns of SCORES

The releases are made in a file store, so a scorer in another language can be started on ``store_uri``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fleetalign.contracts.golden import cases
from fleetalign.contracts.graph import Graph
from fleetalign.contracts.tables import MUTES, SCORES, TIME, from_parquet
from fleetalign.storage.connect import open_store
from fleetalign.storage.manifest import read_file, read_manifest
from fleetalign.storage.store import Store
from fleetalign.testing.releases import METRICS, toy_release, toy_telemetry

WINDOW_STEPS, STEPS, RELATIVE = 8, 40, 1e-5


def _with(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def _late(table: pa.Table, seconds: list[int]) -> pa.Table:
    times = zip(table["timestamp"].to_pylist(), seconds, strict=True)
    moved = pa.array([time + timedelta(seconds=late) for time, late in times], TIME)
    return table.set_column(table.schema.get_field_index("timestamp"), "timestamp", moved)


def _close(left: pa.Table, right: pa.Table) -> None:
    for name in ("kind", "entity_id", "timestamp", "alarm", "reason"):
        assert left[name].to_pylist() == right[name].to_pylist(), name
    for name in ("score", "margin"):
        np.testing.assert_allclose(
            left[name].to_numpy(zero_copy_only=False),
            right[name].to_numpy(zero_copy_only=False),
            rtol=RELATIVE,
            atol=RELATIVE * 1e-2,
            err_msg=name,
        )


class ScorerConformance(ABC):
    """Tests contracts 2.8 and 3 on a release with a toy graph."""

    @abstractmethod
    def score(self, store_uri: str, release_id: str, telemetry: pa.Table) -> pa.Table:
        """Score ``telemetry`` with that release; return the columns and types of SCORES."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        """Open an empty file store."""
        return open_store(f"file://{tmp_path}/store")

    @pytest.fixture
    def release_id(self, store: Store) -> str:
        """Publish a release and return its id."""
        return toy_release(store, window_steps=WINDOW_STEPS)

    def _graph(self, store: Store, release_id: str) -> Graph:
        manifest = read_manifest(store, release_id)
        return Graph(read_file(store, manifest, manifest.kinds["service"].model))

    def test_columns_types_and_order(self, store: Store, release_id: str) -> None:
        rows = pa.concat_tables([toy_telemetry("service", entity, STEPS) for entity in ("b", "a")])
        found = self.score(store.uri, release_id, rows)
        assert found.schema.equals(SCORES.schema)
        assert found.equals(SCORES.conform(found))
        assert found.num_rows == 2 * STEPS

    def test_every_full_window_gets_the_graphs_own_numbers(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "b", STEPS)
        jump = np.where(np.arange(STEPS) == 30, 20.0, 0.0)
        rows = _with(rows, METRICS[0], rows[METRICS[0]].to_numpy() + jump)
        found = self.score(store.uri, release_id, rows)
        matrix = np.stack([rows[metric].to_numpy() for metric in METRICS])
        windows = np.lib.stride_tricks.sliding_window_view(matrix, WINDOW_STEPS, axis=1).transpose(1, 0, 2)
        count = len(windows)
        expected = self._graph(store, release_id).run(
            {
                "values": windows,
                "location": np.full((count, len(METRICS)), 11.0),
                "scale": np.full((count, len(METRICS)), 2.0),
                "weight": np.ones((count, len(METRICS))),
                "condition": np.full(count, 4),
                "threshold": np.full(count, 2.0),
            }
        )
        scored = found.slice(WINDOW_STEPS - 1)
        np.testing.assert_allclose(scored["score"].to_numpy(), expected.score, rtol=RELATIVE)
        np.testing.assert_allclose(scored["margin"].to_numpy(), expected.margin, rtol=RELATIVE, atol=RELATIVE)
        assert scored["alarm"].to_pylist() == [bool(margin > 0) for margin in scored["margin"].to_numpy()]
        assert any(scored["alarm"].to_pylist()) and not all(scored["alarm"].to_pylist())

    def test_warming_up_until_the_window_is_full(self, store: Store, release_id: str) -> None:
        found = self.score(store.uri, release_id, toy_telemetry("service", "a", STEPS))
        reasons = found["reason"].to_pylist()
        assert reasons == ["warming_up"] * (WINDOW_STEPS - 1) + [None] * (STEPS - WINDOW_STEPS + 1)
        assert found["score"].null_count == found["margin"].null_count == WINDOW_STEPS - 1
        assert not any(found["alarm"].to_pylist()[: WINDOW_STEPS - 1])

    def test_rows_of_one_slot_are_one_row(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        empty = np.full(STEPS, np.nan)
        parts = [_with(rows, metric, empty) for metric in METRICS[:2]]
        # Each metric is in one part or in both, in which case both agree.
        _close(self.score(store.uri, release_id, pa.concat_tables(parts)), self.score(store.uri, release_id, rows))

    def test_a_row_belongs_to_the_slot_nearest_to_it_after_the_phase_of_its_entity(self, store: Store) -> None:
        # 40 s late in each minute, and up to 29 s beside that; an entity without a phase has phase 0.
        phases = pa.table({"kind": ["service"], "entity_id": ["a"], "phase_us": [40_000_000]})
        release_id = toy_release(store, window_steps=WINDOW_STEPS, phases=phases)
        for entity, phase in (("a", 40), ("b", 0)):
            rows = toy_telemetry("service", entity, STEPS)
            found = self.score(
                store.uri, release_id, _late(rows, [phase + (-29, 0, 29, 13)[i % 4] for i in range(STEPS)])
            )
            assert found["timestamp"].to_pylist() == rows["timestamp"].to_pylist()
            _close(found, self.score(store.uri, release_id, _late(rows, [phase] * STEPS)))

    def test_back_after_a_gap_of_a_window_it_warms_up_again(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS + WINDOW_STEPS)
        gone = slice(WINDOW_STEPS, 2 * WINDOW_STEPS)
        kept = np.delete(np.arange(rows.num_rows), np.arange(rows.num_rows)[gone])
        reasons = self.score(store.uri, release_id, rows.take(pa.array(kept)))["reason"].to_pylist()
        young = WINDOW_STEPS - 1
        assert reasons[: WINDOW_STEPS + young] == ["warming_up"] * young + [None] + ["short_history"] * young
        assert not any(reasons[WINDOW_STEPS + young :])

    def test_an_unknown_entity_uses_the_default_row(self, store: Store, release_id: str) -> None:
        known = toy_telemetry("service", "a", STEPS)  # entity a's rows equal the default's
        stranger = _with(known, "entity_id", np.full(STEPS, "stranger"))
        expected = self.score(store.uri, release_id, known)
        _close(self.score(store.uri, release_id, stranger), _with(expected, "entity_id", np.full(STEPS, "stranger")))

    def test_an_unknown_kind_is_reported_and_not_guessed(self, store: Store, release_id: str) -> None:
        found = self.score(store.uri, release_id, toy_telemetry("toaster", "a", STEPS))
        assert found.num_rows == STEPS
        assert set(found["reason"].to_pylist()) == {"unknown_kind"}
        assert found["score"].null_count == STEPS and not any(found["alarm"].to_pylist())

    def test_the_order_of_columns_and_rows_does_not_matter(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        turned = rows.select([*reversed(rows.schema.names)]).take(np.random.default_rng(1).permutation(STEPS))
        _close(self.score(store.uri, release_id, turned), self.score(store.uri, release_id, rows))

    def test_a_metric_unknown_to_the_release_changes_nothing(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        more = rows.append_column("padding", pa.array(np.full(STEPS, 1e6)))
        _close(self.score(store.uri, release_id, more), self.score(store.uri, release_id, rows))

    def test_an_absent_metric_is_a_missing_one(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        empty = _with(rows, METRICS[0], np.full(STEPS, np.nan))
        found = self.score(store.uri, release_id, rows.drop_columns([METRICS[0]]))
        _close(found, self.score(store.uri, release_id, empty))
        assert found["score"].null_count == WINDOW_STEPS - 1

    def test_infinite_is_missing(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        values = rows[METRICS[0]].to_numpy().copy()
        values[20:23] = [np.inf, -np.inf, np.nan]
        missing = np.where(np.isfinite(values), values, np.nan)
        _close(
            self.score(store.uri, release_id, _with(rows, METRICS[0], values)),
            self.score(store.uri, release_id, _with(rows, METRICS[0], missing)),
        )

    def test_nothing_measured_is_no_metric_and_never_normal(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        for metric in METRICS:
            values = rows[metric].to_numpy().copy()
            values[20] = np.nan
            rows = _with(rows, metric, values)
        found = self.score(store.uri, release_id, rows)
        assert found["reason"][20].as_py() == "no_metric"
        assert found["score"][20].as_py() is None
        assert found["score"][21].as_py() is not None

    def test_a_lost_row_leaves_a_gap_and_no_row(self, store: Store, release_id: str) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        lost = rows.filter(pa.array(np.arange(STEPS) != 20))
        blank = rows
        for metric in METRICS:
            blank = _with(blank, metric, np.where(np.arange(STEPS) == 20, np.nan, rows[metric].to_numpy()))
        expected = self.score(store.uri, release_id, blank).filter(pa.array(np.arange(STEPS) != 20))
        _close(self.score(store.uri, release_id, lost), expected)

    def test_a_muted_metric_counts_as_missing_while_it_is_muted(self, store: Store) -> None:
        rows = toy_telemetry("service", "a", STEPS)
        release_id = toy_release(store, mutes=self._mute(rows, "a", METRICS[0], 20, 30))
        values = rows[METRICS[0]].to_numpy()
        changed = _with(rows, METRICS[0], np.where(np.arange(STEPS) == 25, values + 1e3, values))
        expected, found = (self.score(store.uri, release_id, table) for table in (rows, changed))
        _close(found.slice(25, 1), expected.slice(25, 1))
        loud = self.score(store.uri, toy_release(store), changed)
        assert loud["alarm"][25].as_py() and not found["alarm"][25].as_py()

    @pytest.mark.parametrize(("muted_entity", "other_reason"), [("*", "maintenance"), ("a", None)])
    def test_maintenance_silences(self, store: Store, muted_entity: str, other_reason: str | None) -> None:
        rows = pa.concat_tables([toy_telemetry("service", entity, STEPS) for entity in ("a", "b")])
        release_id = toy_release(store, mutes=self._mute(rows, muted_entity, "*", 20, 30))
        found = self.score(store.uri, release_id, rows)
        for entity, reason in (("a", "maintenance"), ("b", other_reason)):
            mine = found.filter(pc.equal(found["entity_id"], entity))
            assert mine["reason"].to_pylist()[19:31] == [None] + [reason] * 10 + [None]
            if reason:
                assert mine["score"].slice(20, 10).null_count == 10

    def test_two_kinds_in_one_table(self, store: Store) -> None:
        release_id = toy_release(store, kinds={"service": ("a",), "database": ("a",)})
        rows = [toy_telemetry(kind, "a", STEPS) for kind in ("service", "database")]
        found = self.score(store.uri, release_id, pa.concat_tables(rows))
        assert found["kind"].to_pylist() == ["database"] * STEPS + ["service"] * STEPS
        assert found["score"].null_count == 2 * (WINDOW_STEPS - 1)

    def test_golden_vectors_repeat_here(self, store: Store, release_id: str) -> None:
        """Check the runtime that the scorer uses; Python's is onnxruntime."""
        manifest = read_manifest(store, release_id)
        golden = from_parquet(read_file(store, manifest, manifest.kinds["service"].golden), "golden")
        graph = self._graph(store, release_id)
        for case in cases(golden):
            np.testing.assert_allclose(graph.run(case["inputs"]).score, case["outputs"]["score"], rtol=RELATIVE)

    @staticmethod
    def _mute(rows: pa.Table, entity_id: str, metric: str, first: int, last: int) -> pa.Table:
        """Make a mute from the sample ``first`` up to and without the sample ``last``."""
        start = rows["timestamp"][0].as_py()
        mute = {
            "kind": "service",
            "entity_id": entity_id,
            "metric": metric,
            "from": start + timedelta(minutes=first),
            "until": start + timedelta(minutes=last),
            "by": "ops",
            "why": "toy",
        }
        return pa.Table.from_pylist([mute], schema=MUTES.schema)
