"""Every reader against generated files: no traceback, no hang, bounded memory, no good row lost beside a bad one."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from fuzz.generated import START, cells, damaged, good_rows, hostile_text, packed, parquet, typed_tables
from fuzz.watch import FUZZ, Watch
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config
from fleetalign.contracts.hashing import sha256
from fleetalign.errors import BadInput
from fleetalign.feedback.files import read_feedback_file
from fleetalign.ingest.inspect import inspect, inspection_text
from fleetalign.ingest.mapping import Mapping, load_mapping
from fleetalign.ingest.raw_partitions import IngestResult
from fleetalign.ingest.run import ingest_files
from fleetalign.interval import Interval
from fleetalign.storage.lake import read_partition
from fleetalign.storage.layout import quarantined_object
from fleetalign.storage.memory import MemoryStore

CONFIG = Config(steps={"web": 3600, "default": 3600})
DAY = Interval(START, START + timedelta(days=1))
KEYS = {"host": ["a", "b"], "ts": [START, START + timedelta(hours=1), START + timedelta(hours=2)], "cpu": [1, 2]}
STATEMENT = {"entity_id": ["a", "b"], "start": [START], "end": [START + timedelta(hours=1)], "verdict": ["normal"]}
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".csv.zst")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ingest(watch: Watch, name: str, path: Path, data: bytes, mapping: Mapping) -> tuple[MemoryStore, object]:
    """Ingest ``data``; whatever happens, a file that was refused is in the quarantine, whole."""
    path.write_bytes(data)
    store = MemoryStore()
    result = watch.read(name, lambda: ingest_files(store, CONFIG, path, mapping, DAY))
    if isinstance(result, BadInput) and "not readable and copied" in str(result):
        assert store.get(quarantined_object(sha256(data))) == data
    return store, result


@FUZZ
@given(
    rows=good_rows(),
    bad=st.lists(st.tuples(st.integers(0, 12), st.lists(cells, min_size=1, max_size=6)), max_size=5),
    delimiter=st.sampled_from(",;\t|^"),
    comma=st.booleans(),
    suffix=st.sampled_from(SUFFIXES),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_no_good_row_is_lost_beside_bad_lines(watch, folder, rows, bad, delimiter, comma, suffix, ending) -> None:
    def written(value: float) -> str:
        text = repr(value)
        return f'"{text.replace(".", ",")}"' if comma else text

    lines = [delimiter.join((host, at.isoformat(), written(cpu))) for host, at, cpu in rows]
    for place, line in bad:
        lines.insert(min(place, len(lines)), delimiter.join(line))
    data = packed(ending.join((delimiter.join(("host", "ts", "cpu")), *lines, "")).encode(), suffix)
    mapping = Mapping(kind="web", delimiter=delimiter, decimal="," if comma else ".")
    store, result = ingest(watch, "telemetry CSV, bad lines", folder / f"t{suffix}", data, mapping)
    if isinstance(result, BadInput) and any({"host", "ts"} & set(line) for _, line in bad):
        return
    assert isinstance(result, IngestResult), result
    (partition,) = result.partitions
    table = read_partition(store, partition)
    kept = Counter(zip(*(table[n].to_pylist() for n in ("entity_id", "timestamp", "cpu")), strict=True))
    assert not Counter(rows) - kept


@FUZZ
@given(rows=good_rows(), suffix=st.sampled_from(SUFFIXES), long=st.booleans(), data=st.data())
def test_damaged_text_files(watch, folder, rows, suffix, long, data) -> None:
    header = "host,ts,metric,value" if long else "host,ts,cpu"
    lines = [f"{host},{at.isoformat()},{'cpu,' if long else ''}{cpu!r}" for host, at, cpu in rows]
    whole = "\n".join((header, *lines, "")).encode()
    content = data.draw(st.one_of(damaged(packed(whole, suffix)), damaged(whole).map(lambda d: packed(d, suffix))))
    ingest(watch, "telemetry CSV, damaged", folder / f"t{suffix}", content, Mapping(kind="web"))


@FUZZ
@given(table=typed_tables(KEYS), zone=st.sampled_from(["", "UTC", "Europe/Berlin"]))
def test_parquet_of_any_type(watch, folder, table, zone) -> None:
    ingest(watch, "telemetry Parquet, any type", folder / "t.parquet", parquet(table), Mapping(time_zone=zone))


@FUZZ
@given(rows=good_rows(), data=st.data())
def test_damaged_parquet(watch, folder, rows, data) -> None:
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(("host", "ts", "cpu"))})
    content = data.draw(damaged(parquet(table)))
    ingest(watch, "telemetry Parquet, damaged", folder / "t.parquet", content, Mapping(kind="web"))


@FUZZ
@given(
    table=typed_tables(KEYS), as_text=st.booleans(), lines=st.lists(st.lists(cells, min_size=1, max_size=5), max_size=8)
)
def test_inspect_of_anything(watch, folder, table, as_text, lines) -> None:
    path = folder / ("t.csv" if as_text else "t.parquet")
    text = "\n".join(",".join(line) for line in [table.schema.names, *lines])
    path.write_bytes(text.encode() if as_text else parquet(table))
    watch.read("inspect", lambda: inspection_text(inspect(path, Mapping())))


FIELDS = ("entity_column", "time_column", "kind", "layout", "metrics", "ignore", "time_zone", "decimal", "delimiter")
scalars = st.none() | st.booleans() | st.integers() | st.floats() | hostile_text
documents = st.dictionaries(
    st.sampled_from((*FIELDS, "encoding", "time_unit", "typo")), scalars | st.lists(scalars, max_size=3), max_size=6
)


@FUZZ
@given(document=documents, raw=st.text(st.characters(codec="utf-8"), max_size=60), structured=st.booleans())
def test_mapping_files(watch, folder, document, raw, structured) -> None:
    import yaml

    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump(document) if structured else raw)
    watch.read("mapping YAML", lambda: load_mapping(path))


GOOD_FEEDBACK = "{},2024-05-01T00:00:00Z,2024-05-01T0{}:00:00Z,anomaly"


@FUZZ
@given(
    good=st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True),
    bad=st.lists(st.lists(cells, min_size=1, max_size=6), max_size=2),
)
def test_feedback_text(watch, folder, good, bad) -> None:
    path = folder / "f.csv"
    lines = ["entity_id,start,end,verdict", *(GOOD_FEEDBACK.format("a", h) for h in good), *map(",".join, bad)]
    path.write_text("\n".join(lines) + "\n")
    store = MemoryStore()
    result = watch.read("feedback CSV", lambda: read_feedback_file(str(path), "web", store=store))
    if isinstance(result, BadInput):
        assert bad
        assert store.get(quarantined_object(sha256(path.read_bytes()))) == path.read_bytes()
    else:
        assert result.num_rows == len(good) + sum(bool(",".join(line)) for line in bad)


@FUZZ
@given(table=typed_tables(STATEMENT, ("kind", "recorded_at", "note", "source", "colour")))
def test_feedback_parquet_of_any_type(watch, folder, table) -> None:
    path = folder / "f.parquet"
    path.write_bytes(parquet(table))
    watch.read("feedback Parquet, any type", lambda: read_feedback_file(str(path), "web", store=MemoryStore()))
