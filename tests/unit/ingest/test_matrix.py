"""One column a series: names are cut into entity and metric, and the partitions are those of the same long file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.quarantined import read_quarantine

from fleetalign.config import Config
from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest import matrix
from fleetalign.ingest.inspect import inspect
from fleetalign.ingest.mapping import Mapping, load_mapping
from fleetalign.ingest.matrix import SeriesForm, unfold
from fleetalign.ingest.run import ingest_files
from fleetalign.ingest.series_forms import propose_form
from fleetalign.interval import Interval
from fleetalign.storage.lake import list_partitions, read_partition
from fleetalign.storage.memory import MemoryStore

CONSOLE = "{dc}_{kind}_{host}_{method}_{status}_{endpoint}_{stat}"
DAY = Interval.parse("2026-03-02", "2026-03-03")
TIMES = [f"2026-03-02T{hour:02}:00:00Z" for hour in range(24)]


def write(folder: Path, columns: dict[str, list], name: str = "m.csv") -> str:
    path = folder / name
    lines = [",".join(columns)]
    lines += [",".join("" if v is None else str(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def stored(store: MemoryStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("")}


def test_the_names_of_the_console() -> None:
    form = SeriesForm(CONSOLE, entity="{dc}/{host}/{endpoint}", metric="{method}_{status}_{stat}")
    assert form.cut("dal_web_h1_GET_2XX_login_count") == ("web", "dal/h1/login", "GET_2XX_count")
    assert form.cut("dal_web_h1_GET_2XX_login") is None
    assert form.cut("DAL_CLIENT_h1_GET_2XX_login_count") == ("client", "DAL/h1/login", "GET_2XX_count")
    assert form.cut("dal_web_h1_GET_2XX_log_in_count") is None, "where to cut is not known; a pattern can say it"
    assert SeriesForm("{entity}_{metric}").cut("web_1_cpu") is None
    pattern = r"(?P<entity>\w+)\{mode=\"(?P<metric>\w+)\"\}"
    assert SeriesForm(pattern=pattern).cut('cpu{mode="idle"}') == ("", "cpu", "idle")
    assert SeriesForm('cpu{{host="{entity}"}}').cut('cpu{host="a-1"}') == ("", "a-1", "value")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layout: matrix", "needs a series_template or series_pattern"),
        ("{layout: wide, series_template: '{entity}'}", "belongs to the layout matrix, not wide"),
        ("series_entity: '{host}'", "need a series_template"),
        ("{series_template: '{entity}', series_pattern: '.'}", "both set"),
        ("series_template: '{entity'", "series_template is '{entity' .*write fields such as {host}"),
        ("series_template: '{entity!r}'", "series_template is"),
        ("series_template: '{entity}{metric}'", "nothing between {metric} and the field before it"),
        ("series_template: '{a}_{a}'", "names 'a' twice"),
        (
            "series_template: '{host}_{metric}'",
            "series_entity names the field 'entity'; the columns' names have host, metric",
        ),
        ("{series_template: '{host}_{metric}', series_entity: 'all'}", "series_entity names no field"),
        ("series_pattern: '(?P<entity>'", "series_pattern is no regular expression"),
    ],
)
def test_a_wrong_form_is_refused_by_its_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


ENTITIES = ["a", "b=1", "c/d"]
cells = st.sampled_from([None, None, 1.5, -2.0, 1e300])


@settings(max_examples=25)
@given(st.lists(st.lists(cells, min_size=24, max_size=24), min_size=6, max_size=6), st.integers(1, 200))
def test_partitions_are_those_of_the_long_file(
    tmp_path_factory: pytest.TempPathFactory, values: list, bound: int
) -> None:
    folder = tmp_path_factory.mktemp("matrix")
    names = [(entity, metric) for entity in ENTITIES for metric in ("cpu", "mem")]
    if all(cell is None for column in values for cell in column[:2]):
        values[0][:2] = [1.0, 2.0]
    wide = write(folder, {"time": TIMES, **{f"{e}|{m}": v for (e, m), v in zip(names, values, strict=True)}})
    rows = [
        (time, entity, metric, column[at])
        for (entity, metric), column in zip(names, values, strict=True)
        for at, time in enumerate(TIMES)
        if column[at] is not None
    ]
    long = write(
        folder, dict(zip(("time", "host", "metric", "value"), map(list, zip(*rows, strict=True)), strict=True)), "l.csv"
    )
    config = Config(steps={"web": 3600})
    of_matrix, of_long = MemoryStore(), MemoryStore()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix, "CELLS_PER_TABLE", bound)
        done = ingest_files(of_matrix, config, wide, Mapping(kind="web", series_template="{entity}|{metric}"), None)
    ingest_files(of_long, config, long, Mapping(kind="web", entity_column="host"), None)
    assert stored(of_matrix) == stored(of_long)
    assert done.read == done.kept == len({(row[0], row[1]) for row in rows}), "a row without a value is none"


def test_a_piece_holds_a_bounded_number_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "CELLS_PER_TABLE", 100)
    names = {f"h{h}|m{m}": ("", f"h{h}", f"m{m}") for h in range(20) for m in (range(2) if h else range(60))}
    table = pa.table({"time": TIMES[:10], **{name: np.ones(10) for name in names}})
    pieces = [(rows.num_rows, len(metrics)) for _, metrics, rows, _ in unfold(table, "time", names, "entity_id")]
    assert pieces[0] == (10, 60), "one entity is never cut"
    assert all(rows * width <= 100 for rows, width in pieces[1:])
    assert sum(rows for rows, _ in pieces) == 200


def test_kinds_come_from_the_names_and_each_has_its_own_metrics(tmp_path: Path) -> None:
    columns = {"time": TIMES, "web.a.rps": list(range(24)), "db.a.reads": list(range(24)), "db.b.reads": [None] * 24}
    path = write(tmp_path, columns)
    store = MemoryStore()
    ingest_files(store, Config(), path, Mapping(series_template="{kind}.{entity}.{metric}"), None)
    found = {p.kind: p.metrics for p in list_partitions(store, "raw")}
    assert found == {"db": ("reads",), "web": ("rps",)}
    (rows,) = [read_partition(store, p)["entity_id"].unique().to_pylist() for p in list_partitions(store, "raw", "db")]
    assert rows == ["a"]


def test_text_cells_and_bad_times_are_quarantined_with_their_row(tmp_path: Path) -> None:
    times = [*TIMES[:3], "never", *TIMES[4:]]
    path = write(
        tmp_path, {"time": times, "a|cpu": [1, "oops", "NaN", *range(21)], "b|cpu": [1, 2, 3, None, *range(20)]}
    )
    store = MemoryStore()
    done = ingest_files(store, Config(), path, Mapping(kind="web", series_template="{entity}|{metric}"), None)
    assert (done.read, done.kept, done.quarantined_rows, done.quarantined_cells) == (
        46,
        45,
        {"unreadable_time": 1},
        {"not_a_number": 1},
    )
    (cell,) = read_quarantine(store, "cells", "web", DAY, "day").to_pylist()
    assert (cell["entity_id"], cell["metric"], cell["value_text"]) == ("a", "cpu", "oops")
    (row,) = read_quarantine(store, "rows", "web", DAY, "day").to_pylist()
    assert (row["entity_id"], row["timestamp_text"], row["origin"]) == ("", "never", "m.csv row 4")


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        (["a|cpu", "b|cpu"], {"series_template": "{entity}.{metric}"}, "no column has the form '{entity}.{metric}', such as a|cpu"),
        (["a|cpu", "a |cpu"], {"series_template": "{entity}|{metric}"}, "columns 'a|cpu' and 'a |cpu' are both the metric 'cpu' of 'a'"),
        (["a|cpu", "b|timestamp"], {"series_template": "{entity}|{metric}"}, "column 'b|timestamp': a metric cannot be called"),
        (["a|b"], {"series_template": "{entity}|{kind}", "kind": ""}, None),
        (["a|B B"], {"series_template": "{entity}|{kind}"}, None),
        (["a|CLIENT"], {"series_template": "{entity}|{kind}", "kind": ""}, None),
        (["a|B B"], {"series_template": "{entity}|{kind}", "kind": ""}, "column 'a|B B': kind 'b b' must match"),
        (["a|cpu"], {"series_template": "{entity}|{metric}", "entity_column": "host"}, "entity_column has no meaning in the layout matrix"),
        (["a|cpu"], {"series_template": "{entity}|{metric}", "ignore": ("mem",)}, "--ignore mem is in none of the files"),
    ],
)  # fmt: skip
def test_columns_that_make_no_series_are_named(
    tmp_path: Path, columns: list[str], fields: dict, message: str | None
) -> None:
    path = write(tmp_path, {"time": TIMES, **{name: list(range(24)) for name in columns}})
    mapping = Mapping(**({"kind": "web"} | fields))
    if message is None:
        assert ingest_files(MemoryStore(), Config(), path, mapping, None).kept == 24
        return
    with pytest.raises(UsageError) as raised:
        ingest_files(MemoryStore(), Config(), path, mapping, None)
    assert message in str(raised.value)


def test_columns_of_another_form_are_counted_not_dropped_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, {"time": TIMES, "a|cpu": list(range(24)), "note": ["x"] * 24})
    ingest_files(MemoryStore(), Config(), path, Mapping(kind="web", series_template="{entity}|{metric}"), None)
    assert "left out: 1 columns of another form than the series, such as 'note'" in caplog.text


@pytest.mark.parametrize(
    ("names", "form"),
    [
        ([f"web-{i}" for i in range(4)], ("{entity}", "{entity}", "value")),
        ([f"10.0.0.{i}:9100" for i in range(5)], ("{entity}", "{entity}", "value")),
        ([f"web-{i} {m}" for i in range(3) for m in ("cpu", "mem")],
         ("{entity} {metric}", "{entity}", "{metric}")),
        ([f"AWS/EC2 InstanceId=i-00{i}bc {m}" for i in range(4) for m in ("CPUUtilization", "DiskReadBytes", "StatusCheckFailed")],
         ("AWS/EC2 InstanceId={entity} {metric}", "{entity}", "{metric}")),
        ([f"{s}_{m}" for s in ("front-end", "carts", "orders", "user") for m in ("cpu", "mem")], None),
        ([f"AWS/EC2 i-0{i}aaaaaa {m}" for i in range(3) for m in ("CPUUtilization", "NetworkIn")],
         ("AWS/EC2 {entity} {metric}", "{entity}", "{metric}")),
        ([f"dal{d}_console_host{h}_{s}_{x}" for d in (1, 2) for h in (1, 2) for s in ("2XX", "5XX") for x in ("count", "avg")],
         ("{part1}_console_{part3}_{part4}_{metric}", "{part1}/{part3}/{part4}", "{metric}")),
        ([f'cpu_usage{{host="web-{i}", mode="{m}"}}' for i in range(3) for m in ("idle", "user")],
         ('cpu_usage{{host="{host}", mode="{mode}"}}', "{host}", "cpu_usage_{mode}")),
        ([f'{m}{{instance="web-{i}:9100"}}' for i in range(3) for m in ("load1", "load5")],
         ('{metric}{{instance="{instance}"}}', "{instance}", "{metric}")),
        (["cpu_user", "cpu_system", "mem_used", "mem_free"], None),
        (["cpu", "latency", "errors", "rps", "p99"], None),
        (["web-1", "web-2", "web-3"], None),
        ([f"feature_{i}" for i in range(38)], None),
        ([f"cpu{i}" for i in range(8)], None),
        ([f"load{i}_{stat}" for i in (1, 5, 15) for stat in ("avg", "max")], None),
        ([str(i) for i in range(38)], None),
        (["load1", "load5", "load15", "uptime"], None),
    ],
)  # fmt: skip
def test_forms_are_proposed_where_names_hold_hosts(names: list[str], form: tuple[str, str, str] | None) -> None:
    found = propose_form(names)
    assert (found and (found.template, found.entity, found.metric)) == form
    if found is not None:
        cut = [SeriesForm(found.template, "", found.entity, found.metric).cut(name) for name in names]
        assert None not in cut
        assert len(set(cut)) == len(names)


def test_an_index_and_the_answer_are_no_series(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=24).tolist()
    columns = {"": list(range(24)), "time": TIMES, **{f"web-{i}": values for i in range(4)}, "label": [0, 1] * 12}
    path = write(tmp_path, columns)
    found = inspect(path, Mapping(kind="web"))
    assert found.entities == [f"web-{i}" for i in range(4)]
    assert "label" in found.mapping.ignore
    with pytest.raises(UsageError, match="column 'label' looks like a label"):
        ingest_files(MemoryStore(), Config(), path, Mapping(kind="web", series_template="{entity}", ignore=("",)), None)


def test_inspect_proposes_a_mapping_that_ingest_takes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"web-{i} {m}" for i in range(3) for m in ("cpu", "mem")]
    path = write(tmp_path, {"time": TIMES, **{name: random.normal(size=24).tolist() for name in names}})
    found = inspect(path, Mapping(kind="web"))
    assert (found.entities, found.kept, found.step_seconds) == (["web-0", "web-1", "web-2"], 72, 3600)
    assert {column.role for column in found.columns.values()} == {"time", "series"}
    assert any("look like series of several entities" in doubt for doubt in found.doubts)
    done = ingest_files(MemoryStore(), Config(), path, found.mapping, None)
    assert (done.kept, [p.metrics for p in done.partitions]) == (72, [("cpu", "mem")])


def test_parquet_of_many_columns(tmp_path: Path) -> None:
    columns = {f"h{h}_{m}": pa.array(np.full(24, float(h))) for h in range(400) for m in ("cpu", "mem")}
    columns |= {f"h{h}_disk": pa.nulls(24, pa.float64()) for h in range(400)}
    times = pa.array(TIMES).cast(pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"time": times, **columns}), tmp_path / "m.parquet")
    store = MemoryStore()
    done = ingest_files(
        store, Config(), str(tmp_path / "m.parquet"), Mapping(kind="web", series_template="{entity}_{metric}"), None
    )
    assert (done.kept, done.read) == (9600, 9600)
    (partition,) = list_partitions(store, "raw")
    assert partition.metrics == ("cpu", "mem"), "a metric without any value is none of the partition"
    assert partition.document["entities"] == 400


def test_words_that_may_be_entities_are_doubted_not_taken(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=24).tolist()
    names = [f"{service}_{metric}" for service in ("front-end", "carts", "orders") for metric in ("cpu", "mem")]
    found = inspect(write(tmp_path, {"time": TIMES, **dict.fromkeys(names, values)}), Mapping(kind="web"))
    assert found.mapping.layout == "wide"
    assert any("set series_template to '{entity}_{metric}'" in doubt for doubt in found.doubts)


def test_a_line_without_a_usable_time_is_one_quarantined_row(tmp_path: Path) -> None:
    """Also an empty one, and a repeated header: the file has as many lines as are counted."""
    path = Path(write(tmp_path, {"time": [*TIMES[:4], ""], "a|cpu": [1, 2, 3, 4, None], "b|cpu": [1, 2, 3, 4, None]}))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[0], *lines[3:], "never,,"]) + "\n")
    store = MemoryStore()
    done = ingest_files(store, Config(), path, Mapping(kind="web", series_template="{entity}|{metric}"), None)
    assert (done.read, done.kept) == (11, 8)
    assert done.quarantined_rows == {"repeated_header": 1, "missing_time": 1, "unreadable_time": 1}
    rows = read_quarantine(store, "rows", "web", DAY, "day").to_pylist()
    assert sorted(row["origin"] for row in rows) == ["m.csv row 3", "m.csv row 6", "m.csv row 7"]


def test_the_autumn_hour_is_told_by_the_lines_also_for_an_entity_with_gaps(tmp_path: Path) -> None:
    local = [f"2026-10-25 {hour:02}:{minute:02}:00" for hour in (1, 2, 2, 3) for minute in (0, 15, 30, 45)]
    gaps = [None if at in (5, 6, 9) else at for at in range(16)]
    path = write(tmp_path, {"time": local, "a|cpu": list(range(16)), "b|cpu": gaps})
    store = MemoryStore()
    mapping = Mapping(kind="web", series_template="{entity}|{metric}", time_zone="Europe/Berlin")
    done = ingest_files(store, Config(), path, mapping, None)
    assert (done.kept, done.quarantined_rows) == (29, {})
    rows = [row for part in list_partitions(store, "raw") for row in read_partition(store, part).to_pylist()]
    start = datetime(2026, 10, 24, 23, tzinfo=UTC)
    for row in rows:
        assert row["timestamp"] == start + timedelta(minutes=15 * row["cpu"])


def test_numbers_beside_text_with_a_decimal_comma_keep_their_value(tmp_path: Path) -> None:
    times = pa.array(TIMES).cast(pa.timestamp("us", "UTC"))
    text = pa.array([f"{at},5" for at in range(24)])
    pq.write_table(pa.table({"time": times, "a|cpu": np.arange(24) + 0.25, "b|cpu": text}), tmp_path / "m.parquet")
    store = MemoryStore()
    mapping = Mapping(kind="web", series_template="{entity}|{metric}", decimal=",")
    assert ingest_files(store, Config(), str(tmp_path / "m.parquet"), mapping, None).quarantined_cells == {}
    rows = read_partition(store, list_partitions(store, "raw")[0])["cpu"].to_pylist()
    assert rows == [at + 0.25 for at in range(24)] + [at + 0.5 for at in range(24)]
