"""Bad input from the outside: exit code, one line on stderr, and where everything went (the table in docs/data.md)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.quarantined import read_quarantine

from fleetalign.cli import main
from fleetalign.interval import Interval
from fleetalign.storage.connect import open_store
from fleetalign.storage.lake import list_partitions, read_partition
from fleetalign.storage.layout import validation_result
from fleetalign.storage.statements import read_feedback
from fleetalign.storage.store import Store

DAY = Interval.parse("2024-05-01", "2024-05-02")
HEADER = "host,ts,cpu,mem"
GOOD = [f"a,2024-05-01T0{h}:00:00Z,{h},{h}.5" for h in range(4)]


class Fleet:
    """A folder of telemetry, a store, and the verbs between them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.telemetry = folder / "telemetry"
        self.telemetry.mkdir()
        self.folder, self._capsys = folder, capsys

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "store"))

    def lines(self, *lines: str, name: str = "t.csv", header: str = HEADER) -> None:
        (self.telemetry / name).write_text("\n".join((header, *lines)) + "\n")

    def ingest(self, *arguments: str, code: int = 0) -> list[str]:
        """Lines on stderr, without progress."""
        given = ["--telemetry", str(self.telemetry), "--kind", "web", "--store", str(self.folder / "store")]
        assert main(["ingest", *given, *arguments]) == code
        said = self._capsys.readouterr().err.splitlines()
        return [line for line in said if not line.startswith("read telemetry")]

    def verb(self, *arguments: str, code: int) -> list[str]:
        """Lines on stderr of another verb on the store."""
        self._capsys.readouterr()
        assert main([*arguments, "--store", str(self.folder / "store")]) == code
        return self._capsys.readouterr().err.splitlines()

    def set_aside(self, counts: str, first: str) -> None:
        """Ingest, which says in one line what it set aside, what the first of it is, and where it lies."""
        (line,) = self.ingest(code=3)
        assert line.startswith(f"fleetalign: set aside: {counts}; first: {first}")
        assert line.endswith(f"the rest is stored, see {self.store.uri}/quarantine/")

    def kept(self) -> pa.Table:
        return pa.concat_tables([read_partition(self.store, p) for p in list_partitions(self.store, "raw")])

    def rules(self, what: str = "rows") -> list[str]:
        return sorted(read_quarantine(self.store, what, "web", DAY, "day")["rule"].to_pylist())

    def objects(self) -> list[str]:
        """Names of the files in quarantine, each checked to be whole."""
        found = []
        for info in self.store.list("quarantine/objects/"):
            if info.key.endswith(".reason.json"):
                reason = self.store.get_json(info.key)
                content = self.store.get(info.key.removesuffix(".reason.json"))
                assert content in [p.read_bytes() for p in self.folder.rglob(Path(reason["origin"]).name)]
                found.append(reason["origin"])
        return sorted(found)


@pytest.fixture
def fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fleet:
    return Fleet(tmp_path, capsys)


def truncated_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"host": ["a"] * 100, "cpu": range(100)}), sink)
    return sink.getvalue().to_pybytes()[:-200]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.csv", b"", "not readable"),
        ("empty.parquet", b"", "not readable"),
        ("cut.parquet", truncated_parquet(), "not readable"),
        ("cut.csv.gz", b"\x1f\x8b\x08\x00", "not readable"),
        ("cut.csv.zst", b"\x28\xb5\x2f\xfd\x24", "not readable"),
        ("latin.csv", "host,ts,cpu\nMünchen,2024-05-01T00:00:00Z,1\n".encode("cp1252"), "name its encoding"),
        ("swap.csv", f"{HEADER}\n{GOOD[0]}\nhost,ts,mem,cpu\n{GOOD[1]}\n".encode(), "near row 2 the header changes"),
        ("moved.csv", f"{HEADER}\n{GOOD[0]}\nts,host,cpu,mem\n{GOOD[1]}\n".encode(), "near row 2 the header changes"),
        ("wider.csv", f"{HEADER}\n{GOOD[0]}\nhost,ts,cpu,mem,gpu\n{GOOD[1]},9\n".encode(), "the header changes"),
        ("quote.csv", f'{HEADER}\na,2024-05-01T05:00:00Z,1,"2\n{GOOD[0]}\n{GOOD[1]}\n'.encode(), "a quote is opened"),
        ("quotes.csv", f'{HEADER}\n"a,2024-05-01T05:00:00Z,1\n{GOOD[0]}\nb,"x,1\n'.encode(), "a quote is opened"),
        ("notes.txt", b"hello", "neither Parquet nor CSV"),
    ],
)
def test_a_file_that_would_hide_rows_is_set_aside_whole_and_the_others_are_ingested(
    fleet: Fleet, name: str, data: bytes, words: str
) -> None:
    fleet.lines(*GOOD, name="good.csv")
    (fleet.telemetry / name).write_bytes(data)
    (line,) = fleet.ingest(code=3)
    assert name in line
    assert words in line
    assert fleet.objects() == [name]
    assert fleet.kept().num_rows == 4


@pytest.mark.parametrize(
    ("line", "rule", "first"),
    [
        ("a,1970-01-01T00:00:05Z,1,1", "time_out_of_range", "t.csv row 3, entity 'a' at '1970-01-01T00:00:05Z'"),
        ("a,2106-02-07T06:28:15Z,1,1", "time_out_of_range", "t.csv row 3, entity 'a' at '2106-02-07T06:28:15Z'"),
        (f"a,{(DAY.start + timedelta(seconds=2e8)).isoformat()},1,1", "clock_jump", "telemetry, entity 'a' at '2030"),
        ("a" * 513 + ",2024-05-01T05:00:00Z,1,1", "entity_id_too_long", "t.csv row 3 at '2024-05-01T05:00:00Z'"),
        (HEADER, "repeated_header", "t.csv row 3, entity 'host' at 'ts'"),
        ("a,2024-05-01T05:00:00Z,1,1,1,1", "wrong_column_count", "t.csv: wrong_column_count"),
    ],
)
def test_one_bad_row_goes_to_the_quarantine_and_is_said_in_one_line(
    fleet: Fleet, line: str, rule: str, first: str
) -> None:
    fleet.lines(*GOOD[:2], line, *GOOD[2:])
    fleet.set_aside(f"1 {rule}", first)
    assert fleet.rules() == [rule]
    assert fleet.kept().num_rows == 4


def test_no_usable_row_at_all(fleet: Fleet) -> None:
    fleet.lines("a,1970-01-01T00:00:00Z,1,1")
    (line,) = fleet.ingest(code=3)
    assert "no usable telemetry" in line
    assert "1 quarantined" in line


def test_one_row_alone_is_set_aside_since_nothing_tells_the_step(fleet: Fleet) -> None:
    fleet.lines(GOOD[0])
    (line,) = fleet.ingest(code=3)
    for words in ("entity 'a' at '2024-05-01", "unknown_step", "no entity has two samples", "set steps: {KIND: SEC"):
        assert words in line
    assert fleet.rules() == ["unknown_step"]
    (fleet.folder / "params.yaml").write_text("steps: {web: 3600}\n")
    assert fleet.ingest("--params", str(fleet.folder / "params.yaml")) == []
    assert fleet.kept().num_rows == 1
    assert fleet.rules() == []


def test_a_kind_without_a_step_does_not_stop_the_others(fleet: Fleet) -> None:
    fleet.lines(*(f"{line},web" for line in GOOD), "b,2024-05-01T00:00:00Z,1,1,db", header=f"{HEADER},kind")
    store = ["--telemetry", str(fleet.telemetry), "--store", str(fleet.folder / "store")]
    assert main(["ingest", *store]) == 3
    assert fleet.kept().num_rows == 4
    assert read_quarantine(fleet.store, "rows", "db", DAY, "day")["rule"].to_pylist() == ["unknown_step"]


def test_strings_in_numbers_and_a_metric_that_turns_into_text(fleet: Fleet) -> None:
    fleet.lines(*GOOD, *(f"a,2024-05-01T0{h}:00:00Z,{text},1" for h, text in ((5, "ERR"), (6, "up"), (7, "0x10"))))
    fleet.set_aside("3 not_a_number (cells)", "t.csv, entity 'a' at 2024-05-01T05:00:00Z, column 'cpu' is 'ERR'")
    assert fleet.rules("cells") == ["not_a_number"] * 3
    assert fleet.kept()["cpu"].to_pylist() == [0.0, 1.0, 2.0, 3.0, None, None, None]


def test_infinities_and_numbers_too_large_are_taken_out_by_validation(fleet: Fleet) -> None:
    rows = [f"{entity},2024-05-01T{h:02d}:00:00Z,{h},1" for entity in "ab" for h in range(20)]
    bad = ["a,2024-05-01T20:00:00Z,1e300,1", "a,2024-05-01T21:00:00Z,Inf,1", "a,2024-05-01T22:00:00Z,1e999,1"]
    fleet.lines(*rows, *bad, rows[-1])
    fleet.ingest()
    (line,) = fleet.verb("validate", code=3)
    assert "set aside: 2 infinite (cells), 1 too_large (cells); first: " in line
    assert "entity 'a' at 2024-05-01T20:00:00Z" in line
    assert fleet.rules("cells") == ["infinite", "infinite", "too_large"]
    assert fleet.rules() == [], "the row that came twice is one row"


def test_rows_in_any_order_and_zone_are_read_alike(fleet: Fleet) -> None:
    zoned = ["a,2024-05-01T04:00:00+02:00,2,2.5", "a,2024-04-30T22:00:00-03:00,1,1.5"]
    fleet.lines(GOOD[3], *zoned, GOOD[0])
    assert fleet.ingest() == []
    assert fleet.kept()["cpu"].to_pylist() == [0.0, 1.0, 2.0, 3.0]


def test_one_row_of_an_entity_and_a_metric_without_a_value(fleet: Fleet) -> None:
    fleet.lines(*(f"{line}," for line in (*GOOD, "b,2024-05-01T00:00:00Z,7,7")), header=f"{HEADER},gpu")
    assert fleet.ingest() == []
    assert fleet.kept()["entity_id"].to_pylist() == ["a"] * 4 + ["b"]
    assert "gpu" not in fleet.kept().schema.names
    assert main(["validate", "--store", str(fleet.folder / "store")]) == 0, "nothing is set aside"
    findings = fleet.store.get_json(validation_result("web", DAY, "day"))["findings"]
    (lone,) = [f for f in findings if f["column"] == "lone_samples"]
    assert (lone["success"], lone["worst"]) == (False, "b (1)")


def test_integers_in_one_file_fractions_and_text_in_others(fleet: Fleet) -> None:
    times = [DAY.start + timedelta(hours=h) for h in range(2)]
    for name, values in (("a", [1, 2]), ("b", [0.5, 1.5]), ("c", ["7", "?"])):
        pq.write_table(pa.table({"host": [name] * 2, "ts": times, "cpu": values}), fleet.telemetry / f"{name}.parquet")
    fleet.set_aside("1 not_a_number (cells)", "c.parquet, entity 'c' at 2024-05-01T01:00:00Z, column 'cpu' is '?'")
    assert fleet.kept()["cpu"].to_pylist() == [1.0, 2.0, 0.5, 1.5, 7.0, None]


def test_an_entity_in_two_files_is_one(fleet: Fleet) -> None:
    fleet.lines(*GOOD[:2], name="1.csv")
    fleet.lines(*GOOD[1:], name="2.csv")
    fleet.ingest()
    assert fleet.kept().num_rows == 5, "the row that both have is decided by validation"
    assert main(["validate", "--store", str(fleet.folder / "store")]) == 0, "it is the same row twice"


def test_two_files_that_contradict_each_other(fleet: Fleet) -> None:
    fleet.lines(*GOOD, name="1.csv")
    fleet.lines("a,2024-05-01T01:00:00Z,99,1.5", name="2.csv")
    fleet.ingest()
    (line,) = fleet.verb("validate", code=3)
    assert "1 conflicting_value (cells)" in line
    assert "entity 'a' at 2024-05-01T01:00:00Z, column 'cpu' is '1.0'" in line


@pytest.mark.parametrize(
    "entity", ["a/b", "..", ".", "a b", "🚀", "line\nbreak", "../../etc/passwd", "x" * 512, "%2e%2e", "a,b", 'say "hi"']
)
def test_entity_ids_are_kept_as_they_are(fleet: Fleet, entity: str) -> None:
    quoted = '"' + entity.replace('"', '""') + '"'
    fleet.lines(*(line.replace("a,", f"{quoted},", 1) for line in GOOD))
    assert fleet.ingest() == []
    assert set(fleet.kept()["entity_id"].to_pylist()) == {entity}
    written = {p.relative_to(fleet.folder).as_posix() for p in (fleet.folder / "store").rglob("*")}
    assert not [name for name in written if ".." in name or (entity.strip(".") and entity in name)]
    assert {p.name for p in fleet.folder.iterdir()} == {"store", "telemetry"}


def test_ten_thousand_columns(fleet: Fleet) -> None:
    names = [f"m{i}" for i in range(10_000)]
    rows = [f"a,2024-05-01T0{h}:00:00Z," + ",".join(["1.5"] * len(names)) for h in range(3)]
    fleet.lines(*rows, header="host,ts," + ",".join(names))
    assert fleet.ingest() == []
    assert fleet.kept().shape == (3, 10_003)


def test_feedback_that_ends_before_it_starts_stops_everything(fleet: Fleet) -> None:
    fleet.lines(*GOOD)
    feedback = fleet.folder / "feedback.csv"
    feedback.write_text("entity_id,start,end,verdict\na,2024-05-01T02:00:00Z,2024-05-01T01:00:00Z,anomaly\n")
    (line,) = fleet.ingest("--feedback", str(feedback), code=3)
    assert "feedback.csv row 1: column 'end'" in line
    assert fleet.objects() == ["feedback.csv"]
    assert not list_partitions(fleet.store, "raw")
    (reason,) = [i.key for i in fleet.store.list("quarantine/objects/") if i.key.endswith(".json")]
    assert "'end'" in json.loads(fleet.store.get(reason))["reason"]


GOOD_WORD = "a,2024-05-01T00:00:00Z,2024-05-01T01:00:00Z,anomaly"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,2024-05-01T02:00:00Z,2024-05-01T01:00:00Z,anomaly"], "column 'end'"),
        (["ghost,2024-05-01T00:00:00Z,2024-05-01T01:00:00Z,anomaly"], "no statement names an entity"),
        ([GOOD_WORD, "a,2024-05-01T00:00:00Z,2099-01-01T00:00:00Z,normal"], "1 of 2 statements lie in the future"),
    ],
)
@pytest.mark.parametrize("imported", [True, False])
def test_refused_feedback_is_kept_with_the_reason_whoever_reads_it(
    fleet: Fleet, rows: list[str], words: str, imported: bool
) -> None:
    fleet.lines(*GOOD)
    path = fleet.folder / "feedback.csv"
    path.write_text("\n".join(["entity_id,start,end,verdict", *rows]) + "\n")
    if imported:
        fleet.ingest()
        (line,) = fleet.verb("feedback", "import", str(path), "--kind", "web", code=3)
    else:
        (line,) = fleet.ingest("--feedback", str(path), code=3)
    assert "feedback.csv" in line
    assert words in line
    assert fleet.objects() == ["feedback.csv"]
    assert read_feedback(fleet.store).num_rows == 0


def test_statements_that_contradict_each_other_are_kept_and_said(fleet: Fleet) -> None:
    fleet.lines(*GOOD)
    path = fleet.folder / "feedback.csv"
    path.write_text(
        "\n".join(["entity_id,start,end,verdict", GOOD_WORD, GOOD_WORD.replace("anomaly", "normal")]) + "\n"
    )
    (line,) = fleet.ingest("--feedback", str(path))
    assert "1 pairs of statements contradict each other, the later recorded wins" in line
    assert read_feedback(fleet.store).num_rows == 2


def test_a_real_pod_with_a_wrong_clock(fleet: Fleet, shared_data: Path) -> None:
    files = ["--telemetry", str(shared_data / "nezha_metrics.parquet"), "--kind", "pod", "--ignore", "system", "day"]
    (line,) = [x for x in fleet.verb("ingest", *files, code=3) if not x.startswith("read telemetry")]
    assert "clock_jump; first: nezha_metrics.parquet, entity " in line
    assert "at '2028" in line


def test_metrics_that_are_named_by_lists_are_refused_by_their_type(fleet: Fleet) -> None:
    table = pa.table({"host": ["a"], "ts": [DAY.start], "metric": [[1]], "value": [1.0]})
    pq.write_table(table, fleet.telemetry / "t.parquet")
    (line,) = fleet.ingest(code=2)
    assert "a column of type list" in line
