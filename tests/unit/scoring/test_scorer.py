"""What the conformance suite cannot see: opening, refusing, memory, and the parts of the reference scorer."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts import graph
from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.tables import SCORES
from fleetalign.errors import BadInput, Corrupt, FleetalignError, NotFound
from fleetalign.interval import Interval
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest, release_id_of
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.panel import empty_panel, fill
from fleetalign.testing.releases import CALIBRATED_UNTIL, METRICS, toy_release, toy_telemetry

STEPS = 40


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def release_id(store: MemoryStore) -> str:
    return toy_release(store)


def promoted(store: MemoryStore, release_id: str) -> channels.Pointer:
    return channels.move(store, "champion", release_id, "test", "first", 48.0, CALIBRATED_UNTIL)


def test_import_is_quick_and_light() -> None:
    program = (
        "import sys, time; t = time.process_time(); import fleetalign.scoring.scorer; t = time.process_time() - t; "
        "heavy = {'torch', 'pandas', 'onnx', 'onnxruntime', 'jsonschema', 'matplotlib', 'yaml', 'boto3', 'optuna'}; "
        "print(t, sorted(heavy & set(sys.modules)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    seconds, heavy = zip(*(run.stdout.split(maxsplit=1) for run in runs), strict=True)
    assert set(heavy) == {"[]\n"}
    assert min(map(float, seconds)) < 1.0


def test_opening_follows_the_channel(store: MemoryStore, release_id: str) -> None:
    pointer = promoted(store, release_id)
    scorer = Scorer.open(store)
    assert (scorer.release_id, scorer.pointer, scorer.kinds) == (release_id, pointer, ("service",))
    assert Scorer.open(store, release=release_id).pointer is None


def test_a_channel_that_points_nowhere(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="'champion' points nowhere yet"):
        Scorer.open(store)
    with pytest.raises(NotFound, match="no such release"):
        Scorer.open(store, release="0" * 16)


def test_every_altered_or_missing_file_is_refused(store: MemoryStore, release_id: str) -> None:
    used = [f.key for f in read_manifest(store, release_id).files if f.role not in ("golden", "card")]
    assert len(used) == 3
    for key in used:
        data = store.get(key)
        store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(Corrupt, match=key):
            Scorer.open(store, release=release_id)
        store.delete(key)
        with pytest.raises(NotFound, match=key):
            Scorer.open(store, release=release_id)
        store.put(key, data)
    assert Scorer.open(store, release=release_id).verify() == 0.0


def test_an_altered_manifest_is_refused_by_id_and_by_pointer(store: MemoryStore, release_id: str) -> None:
    promoted(store, release_id)
    key = layout.release(release_id, "manifest.json")
    document = store.get_json(key)
    document["kinds"]["service"]["step_seconds"] = 30
    store.put(key, readable_json(document))
    with pytest.raises(Corrupt, match="its content has id"):
        Scorer.open(store, release=release_id)
    with pytest.raises(Corrupt, match="sha256"):
        Scorer.open(store)


@pytest.mark.parametrize(("version", "fine"), [("1.7", True), ("2.0", False), ("10.0", False), (None, False)])
def test_an_unknown_major_version_is_refused(
    store: MemoryStore, release_id: str, version: str | None, fine: bool
) -> None:
    document = {
        **store.get_json(layout.release(release_id, "manifest.json")),
        "schema_version": version,
        "field_of_the_future": 1,
    }
    document["release_id"] = other = release_id_of(document)
    store.put(layout.release(other, "manifest.json"), readable_json(document))
    if fine:
        assert Scorer.open(store, release=other).release_id == other
    else:
        with pytest.raises(BadInput, match="schema_version"):
            Scorer.open(store, release=other)


def test_an_unknown_input_role_is_refused(store: MemoryStore, release_id: str) -> None:
    document = store.get_json(layout.release(release_id, "manifest.json"))
    document["kinds"]["service"]["inputs"].append("weather")
    document["release_id"] = other = release_id_of(document)
    store.put(layout.release(other, "manifest.json"), readable_json(document))
    with pytest.raises(BadInput, match="'weather'"):
        Scorer.open(store, release=other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["entity_id"]), "'entity_id' is missing"),
        (lambda t: t.set_column(2, "timestamp", t["timestamp"].cast(pa.timestamp("us"))), "with a zone"),
        (lambda t: t.set_column(2, "timestamp", pa.array([str(i) for i in range(STEPS)])), "with a zone"),
        (lambda t: t.set_column(1, "entity_id", pa.array([None] * STEPS, pa.string())), "40 empty cells"),
        (lambda t: t.set_column(3, "cpu", pa.array(["many"] * STEPS)), "'cpu'"),
    ],
)
def test_unusable_telemetry_is_refused_by_name(store: MemoryStore, release_id: str, change, message: str) -> None:
    scorer = Scorer.open(store, release=release_id)
    with pytest.raises(BadInput, match=message):
        scorer.score(change(toy_telemetry("service", "a", STEPS)))


def test_an_empty_table_gives_an_empty_table(store: MemoryStore, release_id: str) -> None:
    scorer = Scorer.open(store, release=release_id)
    assert scorer.score(toy_telemetry("service", "a", STEPS).slice(0, 0)).equals(SCORES.empty())


@pytest.mark.parametrize("kind", ["service", "toaster"])
def test_rows_before_start_are_context_only(store: MemoryStore, release_id: str, kind: str) -> None:
    scorer = Scorer.open(store, release=release_id)
    rows = toy_telemetry(kind, "a", STEPS)
    start = rows["timestamp"][20].as_py()
    assert scorer.score(rows, start=start).equals(scorer.score(rows).slice(20))
    assert scorer.score(rows, start=start + timedelta(days=9)).num_rows == 0


def test_small_batches_give_the_same_scores(store: MemoryStore, release_id: str) -> None:
    scorer, rows = Scorer.open(store, release=release_id), toy_telemetry("service", "a", STEPS)
    whole = scorer.score(rows)
    for batch in (1, 7):
        np.testing.assert_allclose(
            scorer.score(rows, batch=batch)["score"].to_numpy(zero_copy_only=False),
            whole["score"].to_numpy(zero_copy_only=False),
            rtol=1e-5,
        )


def test_contributions_name_the_metric_to_blame(store: MemoryStore, release_id: str) -> None:
    rows = toy_telemetry("service", "a", STEPS)
    column = rows["errors"].to_numpy().copy()
    column[30] = 1e4
    rows = rows.set_column(rows.schema.get_field_index("errors"), "errors", pa.array(column))
    found = Scorer.open(store, release=release_id).score(rows, contributions=True)
    shares = dict(found["contributions"][30].as_py())
    assert max(shares, key=shares.get) == "errors" and shares["errors"] > 0.99
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
    assert found["contributions"][0].as_py() == []


def test_contributions_of_alarms_alone_are_those_of_all(store: MemoryStore, release_id: str) -> None:
    scorer = Scorer.open(store, release=release_id)
    telemetry = toy_telemetry("service", "a", 200)
    every, alarms = (scorer.score(telemetry, contributions=which) for which in (True, "alarms"))
    assert 0 < sum(every["alarm"].to_pylist()) < every.num_rows
    assert every.filter(every["alarm"]).equals(alarms.filter(alarms["alarm"]))
    assert not any(row["contributions"] for row in alarms.to_pylist() if not row["alarm"])


def test_times_are_floored_to_the_step_and_the_last_row_of_a_slot_counts(store: MemoryStore, release_id: str) -> None:
    scorer, rows = Scorer.open(store, release=release_id), toy_telemetry("service", "a", STEPS)
    times = rows["timestamp"].to_pylist()
    late = rows.set_column(
        2, "timestamp", pa.array([t + timedelta(seconds=17) for t in times], SCORES.schema.field(2).type)
    )
    assert scorer.score(late).equals(scorer.score(rows))
    wrong = rows.set_column(3, "cpu", pa.array(np.full(STEPS, 1e6)))
    assert scorer.score(pa.concat_tables([wrong, late])).equals(scorer.score(rows))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True))
def test_warming_up_counts_grid_positions_since_the_first_row_and_since_a_gap_of_a_window(kept: list[int]) -> None:
    store = MemoryStore()
    scorer = Scorer.open(store, release=toy_release(store))
    rows = toy_telemetry("service", "a", 61).take(pa.array(sorted(kept)))
    reasons = scorer.score(rows)["reason"].to_pylist()
    expected, start, before = [], min(kept), min(kept)
    for step in sorted(kept):
        start, before = (step if step - before > 8 else start), step
        young = "warming_up" if start == min(kept) else "short_history"
        expected.append(young if step - start + 1 < 8 else None)
    assert reasons == expected


def test_score_panel_gives_the_same_numbers_and_any_cut_of_them(store: MemoryStore, release_id: str) -> None:
    scorer = Scorer.open(store, release=release_id)
    tables = [toy_telemetry("service", "a", STEPS), toy_telemetry("service", "b", STEPS).slice(12)]
    start = tables[0]["timestamp"][0].as_py()
    panel = empty_panel("service", ["a", "b"], METRICS, Interval(start, start + timedelta(minutes=STEPS)), 60)
    for table in tables:
        fill(panel, table)
    for index, table in enumerate(tables):
        expected = scorer.score(table)
        whole = np.full(STEPS, np.nan, dtype=np.float32)
        whole[STEPS - table.num_rows :] = expected["margin"].to_numpy(zero_copy_only=False)
        for first, last in ((0, STEPS), (15, 30), (STEPS - 1, STEPS), (3, 3)):
            score, margin = scorer.score_panel("service", panel, index, first, last)
            np.testing.assert_allclose(margin, whole[first:last], rtol=1e-5)
            assert np.array_equal(np.isnan(score), np.isnan(margin))
    with pytest.raises(BadInput, match="catalogue"):
        scorer.score_panel(
            "service",
            empty_panel("service", ["a"], ["cpu"], Interval(start, start + timedelta(minutes=5)), 60),
            0,
            0,
            1,
        )


def test_memory_is_bounded_by_batch_not_by_history(store: MemoryStore) -> None:
    window, steps, batch = 256, 30_000, 64
    scorer = Scorer.open(store, release=toy_release(store, window_steps=window))
    rows = toy_telemetry("service", "a", steps)
    scorer.score(rows.slice(0, 2 * window), batch=batch)
    tracemalloc.start()
    scorer.score(rows, batch=batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    every_window = 8 * steps * len(METRICS) * window
    assert peak < every_window / 8, f"{peak / 2**20:.0f} MiB"


def test_a_batch_is_bounded_by_windows_times_metrics(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    release_id = toy_release(store)
    rows = toy_telemetry("service", "a", 400)
    expected = Scorer.open(store, release=release_id).score(rows)
    fed: list[int] = []
    run = graph.Graph.run
    monkeypatch.setattr(graph.Graph, "run", lambda self, feeds: fed.append(feeds["weight"].size) or run(self, feeds))
    monkeypatch.setattr(graph, "METRIC_WINDOWS", 10 * len(METRICS))
    assert Scorer.open(store, release=release_id).score(rows).equals(expected)
    assert max(fed) == 10 * len(METRICS)
    assert [graph.windows_at_once(7, metrics) for metrics in (1, len(METRICS), 10 * len(METRICS), 10**6)] == [
        7,
        7,
        1,
        1,
    ]


def test_errors_are_ours(store: MemoryStore, release_id: str) -> None:
    """A release whose aligner lacks the default row cannot score a new entity: refused when it is opened."""
    from fleetalign.contracts.tables import from_parquet, to_parquet

    document = store.get_json(layout.release(release_id, "manifest.json"))
    aligner = from_parquet(store.get(document["aligner"]), "aligner")
    data = to_parquet(aligner.filter(pa.compute.not_equal(aligner["entity_id"], "__default__")))
    document["aligner"] = "aligners/other/aligner.parquet"
    document["files"].append(
        {"key": document["aligner"], "bytes": len(data), "sha256": sha256(data), "role": "aligner"}
    )
    store.put(document["aligner"], data)
    document["release_id"] = other = release_id_of(document)
    store.put(layout.release(other, "manifest.json"), readable_json(document))
    with pytest.raises(FleetalignError, match="__default__"):
        Scorer.open(store, release=other)


def test_a_row_with_a_wrong_clock_is_refused_by_entity(store: MemoryStore, release_id: str) -> None:
    rows = toy_telemetry("service", "a", 3)
    moved = rows["timestamp"].to_pylist()
    moved[-1] = moved[-1].replace(year=9000)
    rows = rows.set_column(
        rows.schema.get_field_index("timestamp"), "timestamp", pa.array(moved, rows.schema.field("timestamp").type)
    )
    with pytest.raises(BadInput, match=r"entity 'a' of kind 'service' .*is a clock wrong"):
        Scorer.open(store, release=release_id).score(rows)
