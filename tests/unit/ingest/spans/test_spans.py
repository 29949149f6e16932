"""Requests of OTLP, Zipkin and records: one table for any format, compression, order and division of the files."""

from __future__ import annotations

import gzip
import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetalign.cli import main
from fleetalign.config import Config, SourceConfig
from fleetalign.contracts.tables import to_parquet
from fleetalign.errors import BadInput, ConfigError, UsageError
from fleetalign.ingest.listing import list_files
from fleetalign.ingest.run import ingest_partition
from fleetalign.ingest.spans import reader
from fleetalign.ingest.spans.aggregate import aggregate
from fleetalign.ingest.spans.mapping import SpanMapping, status_class
from fleetalign.ingest.spans.reader import read_spans
from fleetalign.ingest.spans.source import SpanSource
from fleetalign.interval import Interval
from fleetalign.storage import layout
from fleetalign.storage.lake import read_partition
from fleetalign.storage.memory import MemoryStore

NOON = 1_714_564_800 * 10**9
"""2024-05-01T12:00:00Z in nanoseconds."""
DAY = Interval.parse("2024-05-01", "2024-05-02")


def span(number: int, *, start: int = NOON, us: int = 1000, kind: object = 2, status: object = 200, **more) -> dict:
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016X}",
        "name": "GET /cart",
        "kind": kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + us * 1000),
        "attributes": [{"key": "http.response.status_code", "value": {"intValue": status}}] if status else [],
        "status": {},
    } | more


def request(*spans: dict, service: str = "cart") -> dict:
    attributes = [{"key": "service.name", "value": {"stringValue": service}}] if service else []
    return {
        "resourceSpans": [
            {"resource": {"attributes": attributes}, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}
        ]
    }


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def lines(*documents: object) -> bytes:
    return b"".join(json.dumps(d).encode() + b"\n" for d in documents)


def read(path: Path, mapping: SpanMapping = SpanMapping(), interval: Interval | None = None, step: int = 300):  # noqa: B008 - frozen
    return read_spans(list_files(path), mapping, interval, step, "day")


def rows(found) -> list[tuple]:
    return [
        (r["entity_id"], r["operation"], r["status_class"], r["timestamp"].strftime("%H:%M"), r["count"], r["sum_us"])
        for r in found.table.to_pylist()
    ]


TWENTY = [request(span(i, us=10 * i, start=NOON + i * 10**11), span(i + 100, us=i)) for i in range(20)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.json", lines(*TWENTY)),
        ("no suffix", lines(*TWENTY).rstrip()),
        ("blank lines.jsonl", lines(*TWENTY).replace(b"\n", b"\r\n\r\n")),
        ("two members.json.gz", gzip.compress(lines(*TWENTY[:7])) + gzip.compress(lines(*TWENTY[7:]))),
        ("gzip without suffix", gzip.compress(lines(*TWENTY))),
        ("plain.json.zst", zstd(lines(*TWENTY))),
        (
            "collector.json",
            b"".join(struct.pack(">I", len(f)) + f for f in (zstd(json.dumps(d).encode()) for d in TWENTY)),
        ),
        ("printed.json", b"\n".join(json.dumps(d, indent=2).encode() for d in TWENTY)),
        ("array.json", json.dumps(TWENTY, indent=1).encode()),
        ("twice.json", lines(*TWENTY, *TWENTY[3:9])),
    ],
)
def test_compression_and_layout_change_no_byte(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "reference.json").write_bytes(lines(*TWENTY))
    found = read(tmp_path / "in")
    assert found.counts["requests"] == 40
    assert found.counts["duplicates"] == (12 if name == "twice.json" else 0)
    assert to_parquet(found.table) == to_parquet(read(tmp_path / "reference.json").table)


@given(st.lists(st.integers(0, 4), min_size=20, max_size=20), st.permutations(range(20)))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_division_into_files_changes_no_byte(tmp_path_factory, places, order) -> None:
    folder = tmp_path_factory.mktemp("spans")
    for number in range(5):
        data = lines(*(TWENTY[i] for i in order if places[i] == number))
        (folder / f"{number}.json.gz").write_bytes(gzip.compress(data))
    whole = tmp_path_factory.mktemp("whole") / "all.json"
    whole.write_bytes(lines(*TWENTY))
    assert to_parquet(read(folder).table) == to_parquet(read(whole).table)


def test_numbers_of_otlp(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    half = span(1, us=0, endTimeUnixNano=NOON + 1_500, startTimeUnixNano=NOON)  # numbers; 1.5 µs become 2
    documents = [
        request(
            half, span(2, us=30, status="404"), span(3, us=50, kind="SPAN_KIND_SERVER", status=None),
            {**span(4, status=None), "status": {"code": 2}}, span(5, kind=3), span(6, kind=1),
            span(7, start=NOON + 300 * 10**9, us=70, kind=5),
        ),
        request(span(8, us=9), service="shop"),
    ]  # fmt: skip
    path.write_bytes(lines(*documents))
    found = read(path)
    assert rows(found) == [
        ("cart", "GET /cart", "2xx", "12:00", 1, "2"),
        ("cart", "GET /cart", "4xx", "12:00", 1, "30"),
        ("cart", "GET /cart", "error", "12:00", 1, "1000"),
        ("cart", "GET /cart", "ok", "12:00", 1, "50"),
        ("cart", "GET /cart", "2xx", "12:05", 1, "70"),
        ("shop", "GET /cart", "2xx", "12:00", 1, "9"),
    ]
    assert found.counts["other_span_kinds"] == 2
    assert "2 spans are no requests" in found.notes[0]
    chosen = read(path, SpanMapping(span_kinds=("client",), entity="shop/{service.name}", operation="{name} of {kind}"))
    assert chosen.rows.to_pylist()[0]["rule"] == "missing_operation", "the span has no attribute called kind"
    chosen = read(path, SpanMapping(span_kinds=("client",), entity="eu/{service.name}"))
    assert rows(chosen)[0][:3] == ("eu/cart", "GET /cart", "2xx")


ZIPKIN = [
    {
        "traceId": "00000000000000ab", "id": f"{i:x}", "kind": "SERVER", "name": "get /x", "timestamp": NOON // 1000 + i,
        "duration": 100 * i, "localEndpoint": {"serviceName": "zed"},
        "tags": {"http.status_code": "503"} if i == 3 else {"error": "x"} if i == 4 else {},
    }
    for i in range(1, 6)
]  # fmt: skip


@pytest.mark.parametrize("layout_", ["array", "printed", "lines", "arrays", "list a line"])
def test_zipkin(tmp_path: Path, layout_: str) -> None:
    # The client's half of a call has the id of the server's, and is no duplicate.
    spans = [*ZIPKIN, {**ZIPKIN[0], "kind": "CLIENT", "localEndpoint": {"serviceName": "caller"}, "duration": 777}]
    data = {
        "array": json.dumps(spans),
        "printed": json.dumps(spans, indent=2),
        "lines": "\n".join(map(json.dumps, spans)),
        "arrays": json.dumps([spans[:2], spans[2:]]),
        "list a line": json.dumps(spans[:2]) + "\n" + json.dumps(spans[2:]),
    }[layout_]
    (tmp_path / "z.json").write_text(data)
    found = read(tmp_path / "z.json")
    assert rows(found) == [
        ("zed", "get /x", "5xx", "12:00", 1, "300"),
        ("zed", "get /x", "error", "12:00", 1, "400"),
        ("zed", "get /x", "ok", "12:00", 3, "800"),
    ]
    assert (found.counts["duplicates"], found.counts["other_span_kinds"]) == (0, 1)
    both = read(tmp_path / "z.json", SpanMapping(span_kinds=("server", "client")))
    assert (both.counts["requests"], both.counts["duplicates"]) == (6, 0)


def test_bad_lines_and_spans_are_quarantined_beside_good_ones(tmp_path: Path) -> None:
    bad = [
        span(1, startTimeUnixNano="noon"), span(2, startTimeUnixNano=0), span(3, endTimeUnixNano="0"),
        span(4, endTimeUnixNano=str(NOON - 1000)), span(5, name=" "), span(6, start=10**9), "text",
        span(7, us=2 * 10**13), span(8, startTimeUnixNano=10**30),
    ]  # fmt: skip
    data = b'{"resourceSpans": [{"resou\n' + lines(request(*bad, span(9)), request(span(10), service=""), 7, None)
    data += lines({"resourceSpans": "x"}, {"resourceMetrics": []}, {}, request(span(11)), {"resourceSpans": []})
    (tmp_path / "t.json").write_bytes(data)
    found = read(tmp_path / "t.json")
    assert rows(found) == [("cart", "GET /cart", "2xx", "12:00", 2, "2000")]
    rules = [(r["rule"], r["origin"]) for r in found.rows.to_pylist()]
    assert rules == [
        ("unreadable_line", "t.json line 1"),
        ("unreadable_time", "t.json line 2 span 1"),
        ("missing_time", "t.json line 2 span 2"),
        ("missing_duration", "t.json line 2 span 3"),
        ("duration_out_of_range", "t.json line 2 span 4"),
        ("missing_operation", "t.json line 2 span 5"),
        ("time_out_of_range", "t.json line 2 span 6"),
        ("unreadable_line", "t.json line 2 span 7"),
        ("duration_out_of_range", "t.json line 2 span 8"),
        ("time_out_of_range", "t.json line 2 span 9"),
        ("missing_entity", "t.json line 3 span 1"),
        *[("unreadable_line", f"t.json line {n}") for n in (4, 5, 6, 7, 8)],
    ]
    assert json.loads(found.rows["row_json"][0].as_py()) == {"line": '{"resourceSpans": [{"resou'}
    assert json.loads(found.rows["row_json"][4].as_py())["spanId"] == f"{4:016X}"
    assert found.counts["read"] == 2 + len(rules)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.json.gz", gzip.compress(lines(*TWENTY))[:-20]),
        ("cut.json.zst", zstd(lines(*TWENTY))[:-20]),
        ("cut.json", struct.pack(">I", 999) + zstd(b"{}")),
        ("array.json", json.dumps(ZIPKIN).encode()[:-1]),
        ("cut array.json", json.dumps(ZIPKIN).encode()[:-20]),
        ("t.parquet", b"PAR1 no"),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_not_used_in_part(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "whole.json").write_bytes(lines(request(span(1, us=7))))
    found = read(tmp_path)
    assert [(r.origin, r.reason.partition(":")[0]) for r in found.refused] == [(name, name)]
    assert rows(found) == [("cart", "GET /cart", "2xx", "12:00", 1, "7")]


def test_late_requests_and_those_outside_the_range_are_counted(tmp_path: Path) -> None:
    tomorrow = NOON + 86_400 * 10**9
    documents = [request(span(1)), request(span(2, start=tomorrow), span(3)), request(span(4)), request(span(5))]
    (tmp_path / "t.json").write_bytes(lines(*documents))
    whole = read(tmp_path / "t.json")
    assert (whole.counts["requests"], whole.counts["late"], whole.counts["outside"]) == (5, 2, 0)
    assert "2 requests came late" in whole.notes[0]
    day = read(tmp_path / "t.json", interval=DAY)
    assert (day.counts["requests"], day.counts["late"], day.counts["outside"]) == (4, 2, 1)


RECORDS = [
    {"service": " a ", "route": "/x", "ts": "2024-05-01T12:00:00Z", "latency_ms": 1.5004, "status_code": 200},
    {"service": "a", "route": "/x", "ts": "2024-05-01T12:04:59.9Z", "latency_ms": 2, "status_code": 503},
    {"service": "a", "route": "/x", "ts": "2024-05-01T12:05:00Z", "latency_ms": 3, "status_code": None},
    {"service": "b", "route": "/y", "ts": "2024-05-01T12:05:00Z", "latency_ms": None, "status_code": 200},
    {"service": "b", "route": "/y", "ts": "2024-05-01T12:05:00Z", "latency_ms": -1, "status_code": 200},
    {"service": "b", "route": "/y", "ts": None, "latency_ms": 1, "status_code": 200},
]


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_request_records(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"r.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    else:
        path.write_bytes(lines(*RECORDS))
    found = read(path)
    assert rows(found) == [
        ("a", "/x", "2xx", "12:00", 1, "1500"),
        ("a", "/x", "5xx", "12:00", 1, "2000"),
        ("a", "/x", "unknown", "12:05", 1, "3000"),
    ]
    rules = ["missing_duration", "duration_out_of_range", "missing_time"]
    assert found.rows["rule"].to_pylist() == rules
    place = "row" if form == "parquet" else "line"
    assert found.rows["origin"].to_pylist() == [f"r.{form} {place} {n}" for n in (4, 5, 6)]


def test_a_column_may_begin_late(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reader, "RECORDS_AT_ONCE", 1)
    without = [{k: v for k, v in record.items() if k != "status_code"} for record in RECORDS[:1]]
    (tmp_path / "r.json").write_bytes(lines(*without, RECORDS[1], *without))
    assert [row[2:5] for row in rows(read(tmp_path / "r.json"))] == [("5xx", "12:00", 1), ("unknown", "12:00", 2)]


def test_columns_of_request_records_are_named_in_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    table = pa.table(
        {
            "dc": ["x", "x", "x"], "pod": ["p"] * 3, "method": ["GET"] * 3, "when": [1_714_564_800_123] * 3,
            "took": [1_499, 1_500, 0], "failed": [False, True, False], "trace": ["t", "t", "t"], "sp": ["1", "2", "2"],
        }
    )  # fmt: skip
    pq.write_table(table, path)
    names = {"entity": "{dc}/{pod}", "operation": "{method}", "time": "when", "status": "failed"}
    with pytest.raises(UsageError, match=r"r\.parquet: no column can be guessed as duration of a request"):
        read(path, SpanMapping(**names))
    with pytest.raises(UsageError, match="column 'took' has no unit in its name; set duration_unit"):
        read(path, SpanMapping(**names, duration="took"))
    with pytest.raises(UsageError, match="column 'nope' of the mapping is not there; it has dc, pod"):
        read(path, SpanMapping(**names, duration="took", duration_unit="ns", trace_id="nope"))
    found = read(path, SpanMapping(**names, duration="took", duration_unit="ns", trace_id="trace", span_id="sp"))
    # 1,499 ns are 1 µs, 1,500 ns are 2 µs; the third has the id of the second and is shorter.
    assert rows(found) == [("x/p", "GET", "error", "12:00", 1, "2"), ("x/p", "GET", "ok", "12:00", 1, "1")]
    assert (found.counts["duplicates"], found.counts["unequal_duplicates"]) == (1, 1)


def test_operations_that_hold_ids_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(lines(request(*(span(i, name=f"GET /user/{i}") for i in range(201)))))
    assert read(path).notes == [
        "entity 'cart' has 201 operations, and each is a metric; if their names hold ids, name them with operation in "
        "the mapping, such as {http.route}"
    ]


def test_a_file_without_spans_is_refused_whole(tmp_path: Path) -> None:
    (tmp_path / "proto").write_bytes(struct.pack(">I", 5) + b"\x0a\x03\xff\xfe\x00\n\x01")
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    (tmp_path / "metrics.json").write_bytes(lines({"resourceMetrics": []}))
    (tmp_path / "t.json").write_bytes(lines({"foo": 1}, request(span(1))))
    found = read(tmp_path)
    assert [(r.origin, r.reason.partition("readable: ")[2]) for r in found.refused] == [
        ("metrics.json", "it holds no span and no request record"),
        ("proto", "it holds no span and no request record"),
        ("r.csv", "CSV holds no spans; write request records as JSON or Parquet"),
    ]
    assert found.counts["requests"] == 1
    assert found.rows["origin"].to_pylist() == ["t.json line 1"], "the file has spans, so this line is no record"


@pytest.mark.parametrize(("data", "code"), [(lines(*TWENTY), 0), (lines(*TWENTY, 1), 3), (lines(1), 3), (b"", 3)])
def test_exit_codes_of_the_command(tmp_path: Path, capsys, data: bytes, code: int) -> None:
    (tmp_path / "t.json").write_bytes(data)
    out = tmp_path / "o.parquet"
    assert main(["aggregate", str(tmp_path / "t.json"), "--out", str(out), "--step", "60", "--output", "json"]) == code
    assert out.exists() == (len(data) > 10)
    if out.exists():
        assert json.loads(capsys.readouterr().out)["requests"] == 40
        assert set(pq.read_table(out)["step_seconds"].to_pylist()) == {60}


def test_wrong_mappings_are_rejected() -> None:
    with pytest.raises(ConfigError, match="span_kinds has 'srv'"):
        SpanMapping(span_kinds=("srv",))
    with pytest.raises(ConfigError, match="duration_unit is 'h'"):
        SpanMapping(duration_unit="h")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="time_zone 'Mars/Base' is unknown; use an IANA name"):
        SpanMapping(time_zone="Mars/Base")


def test_status_classes() -> None:
    written = [200, "301", "404.0", 599, "5XX", "ok", "ERROR", True, False, None, "", -1, 0, 1000, "weird"]
    assert [status_class(value) for value in written] == [
        *("2xx", "3xx", "4xx", "5xx", "5xx", "ok", "error", "error", "ok", "unknown", "unknown"),
        *("other", "other", "other", "other"),
    ]


def test_aggregate_writes_tables_that_merge_to_the_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    later = [request(span(i + 500, start=NOON + 86_400 * 10**9)) for i in range(3)]
    (tmp_path / "in" / "1.json").write_bytes(lines(*TWENTY))
    (tmp_path / "in" / "2.json").write_bytes(lines(*later))
    config = Config(source=SourceConfig(kind="web"))
    whole, folder, again = tmp_path / "whole.parquet", tmp_path / "out", tmp_path / "again.parquet"
    done = aggregate(config, [str(tmp_path / "in")], str(whole), telemetry_path=str(tmp_path / "t.parquet"))
    assert done.found.counts["requests"] == 43
    aggregate(config, [str(tmp_path / "in")], str(folder))
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.parquet")) == [
        f"kind=web/date=2024-05-0{day}/span_stats.parquet" for day in (1, 2)
    ]
    merged = aggregate(config, [str(folder)], str(again))
    assert merged.found.counts["merged"] == merged.found.counts["read"] == 43
    assert again.read_bytes() == whole.read_bytes()
    telemetry = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert sum(row["GET /cart_2xx_count"] for row in telemetry) == 43
    with pytest.raises(UsageError, match="lies in"):
        aggregate(config, [str(folder)], str(folder / "x.parquet"))
    with pytest.raises(UsageError, match="overlap"):
        aggregate(config, [str(folder), str(folder / "kind=web")], str(tmp_path / "x.parquet"))
    with pytest.raises(BadInput, match=r"no usable request \(43 read, 43 outside\)"):
        aggregate(config, [str(folder)], str(tmp_path / "x.parquet"), Interval.parse("2025-01-01", "2025-01-02"))
    assert not (tmp_path / "x.parquet").exists()


def test_aggregate_keeps_what_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(lines(request(span(1)), 5))
    done = aggregate(Config(), [str(path)], str(tmp_path / "t.parquet"))
    kept = tmp_path / "_t_quarantined_rows.parquet"
    assert done.refused == "set aside: 1 unreadable_line; first: t.json line 2: unreadable_line"
    assert pq.read_table(kept)["row_json"].to_pylist() == ["5"]
    path.write_bytes(lines(request(span(1))))
    assert aggregate(Config(), [str(path)], str(tmp_path / "t.parquet")).refused == ""
    assert not kept.exists()


def test_the_source_makes_raw_partitions(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(
        lines(
            request(*(span(i, us=10 * i) for i in range(1, 5))),
            request(span(9, start=NOON + 600 * 10**9), span(1, us=10)),
        )
        + b"{\n"
    )
    config = Config(source=SourceConfig(type="spans", path=str(tmp_path), kind="web"))
    store = MemoryStore()
    result = ingest_partition(store, config, DAY)
    (partition,) = result.partitions
    first, second = read_partition(store, partition).to_pylist()
    assert (first["timestamp"], partition.step_seconds) == (datetime(2024, 5, 1, 12, tzinfo=UTC), 300)
    assert (first["GET /cart_2xx_count"], first["GET /cart_2xx_average_us"]) == (4.0, 25.0)
    assert second["GET /cart_2xx_count"] == 1.0
    assert result.quarantined_rows == {"unreadable_line": 1}
    (asked,) = result.queries
    assert (asked["requests"], asked["duplicates"], asked["quarantined"]) == (5, 1, 1)
    assert store.get_json(partition.prefix + layout.SOURCE_FILE)["requests"] == 5
    again = ingest_partition(store, config, DAY)
    assert again.partitions[0].digest == partition.digest


def test_settings_of_the_source_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"source\.path is empty"):
        SpanSource(Config(source=SourceConfig(type="spans")))
    with pytest.raises(ConfigError, match="a window of 7 s does not divide a day"):
        SpanSource(Config(source=SourceConfig(type="spans", path="x", kind="web"), steps={"web": 7}))
