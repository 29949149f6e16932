"""Readers of JSON against generated documents: statements of other tools, and answers of a Prometheus server."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fuzz.generated import START, damaged, json_values, labels
from fuzz.watch import FUZZ, Watch
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.config import Config, SourceConfig
from fleetalign.contracts.hashing import sha256
from fleetalign.feedback.files import read_feedback_file
from fleetalign.ingest.prometheus import api
from fleetalign.ingest.raw_partitions import IngestResult
from fleetalign.ingest.run import ingest_partition
from fleetalign.interval import Interval
from fleetalign.storage.lake import read_partition
from fleetalign.storage.layout import quarantined_object
from fleetalign.storage.memory import MemoryStore

DAY = Interval(START, START + timedelta(days=1))
STATEMENT = {"entity_id": "a", "start": "2024-05-01T00:00:00Z", "verdict": "anomaly"}
ALERT = {"status": "resolved", "labels": {"host": "a"}, "annotations": {"resolution": "incident"}}
DEEP = b"[" * 5_000
hours = st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True)
ends = "2024-05-01T0{}:00:00Z".format


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(watch: Watch, name: str, path: Path, content: bytes, spoilt: bool, good: int) -> None:
    """Read statements; all of a good file are there, and a refused one lies in the quarantine, whole."""
    path.write_bytes(content)
    store = MemoryStore()
    result = watch.read(name, lambda: read_feedback_file(str(path), "web", store=store))
    if isinstance(result, Exception):
        assert spoilt, result
        assert store.get(quarantined_object(sha256(content))) == content
    else:
        assert spoilt or result.num_rows == good


def changed(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """``document`` with fields that hold anything, are gone, or are none of its own."""
    fields = st.sampled_from((*document, "kind", "note", "source", "recorded_at", "colour"))
    gone = st.lists(st.sampled_from(sorted(document)), max_size=1)
    changes = st.dictionaries(fields, json_values, max_size=2)
    return st.tuples(changes, gone).map(lambda x: {k: v for k, v in (document | x[0]).items() if k not in x[1]})


@FUZZ
@given(good=hours, bad=st.lists(json_values | changed(STATEMENT | {"end": ends(5)}), max_size=2), data=st.data())
def test_json_lines(watch, folder, good, bad, data) -> None:
    lines = [json.dumps(line).encode() for line in (*(STATEMENT | {"end": ends(h)} for h in good), *bad)]
    whole = b"\n".join(data.draw(st.permutations(lines))) + b"\n"
    torn = data.draw(st.none() | damaged(whole) | st.just(DEEP))
    spoilt = bool(bad) or torn is not None
    read(watch, "feedback JSON lines", folder / "f.jsonl", whole if torn is None else torn, spoilt, len(good))


@FUZZ
@given(good=hours, bad=st.lists(json_values | changed(ALERT | {"endsAt": ends(5)}), max_size=2), data=st.data())
def test_alertmanager_payloads(watch, folder, good, bad, data) -> None:
    alerts = [*(ALERT | {"startsAt": "2024-05-01T00:00:00Z", "endsAt": ends(h)} for h in good), *bad]
    whole = json.dumps({"version": "4", "alerts": data.draw(st.permutations(alerts))}).encode()
    torn = data.draw(st.none() | damaged(whole) | st.just(DEEP))
    spoilt = bool(bad) or torn is not None
    read(watch, "feedback of Alertmanager", folder / "f.json", whole if torn is None else torn, spoilt, len(good))


class Server:
    """Answers every query with ``content`` and ``code``."""

    content, code = b"", 200

    def __init__(self) -> None:
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(told.code)
                self.send_header("Content-Length", str(len(told.content)))
                self.end_headers()
                self.wfile.write(told.content)

            def do_GET(self) -> None:
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listening.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(api, "FIRST_PAUSE_SECONDS", 0.0)
    started = Server()
    thread = threading.Thread(target=started.listening.serve_forever)
    thread.start()
    yield started
    started.listening.shutdown()
    thread.join(10)
    started.listening.server_close()


MAPPING = """
step_seconds: 3600
series: [{query: load, kind: web, entity: "{host}", metric: cpu, type: gauge}]
"""
number = st.floats(-1e9, 1e9, allow_nan=False)
samples = st.dictionaries(st.integers(0, 23), number, min_size=2, max_size=6)
point = st.integers(-1, 25).map(lambda h: START.timestamp() + 3600 * h)
odd_points = st.lists(st.tuples(point | json_values, number.map(str) | json_values) | json_values, max_size=4)
odd_series = st.fixed_dictionaries({}, optional={"metric": labels | json_values, "values": odd_points | json_values})


@FUZZ
@given(
    good=st.dictionaries(st.sampled_from("abc"), samples, min_size=1),
    odd=st.lists(odd_series | json_values, max_size=2),
    warnings=st.sampled_from([None, [], ["half of it"]]) | json_values,
    code=st.sampled_from([200] * 12 + [400, 401, 422, 503]),
    data=st.data(),
)
def test_answers_of_prometheus(watch, folder, server, good, odd, warnings, code, data) -> None:
    def pairs(values: dict[int, float]) -> list[list]:
        return [[START.timestamp() + 3600 * hour, repr(values[hour])] for hour in sorted(values)]

    series = [{"metric": {"host": host}, "values": pairs(values)} for host, values in good.items()]
    answer = {"status": "success", "data": {"resultType": "matrix", "result": [*series, *odd]}, "warnings": warnings}
    whole = json.dumps(answer).encode()
    torn = data.draw(st.none() | st.none() | damaged(whole) | st.just(DEEP))
    server.content, server.code = (whole if torn is None else torn), code
    (folder / "series.yaml").write_text(MAPPING)
    source = SourceConfig(type="prometheus", prometheus_url=server.url, mapping_path=str(folder / "series.yaml"))
    store = MemoryStore()
    result = watch.read("answers of Prometheus", lambda: ingest_partition(store, Config(source=source), DAY))
    if not isinstance(result, IngestResult):
        assert odd or warnings or torn is not None or code != 200, result
        return
    if torn is None:
        table = read_partition(store, result.partitions[0])
        kept = Counter(zip(*(table[n].to_pylist() for n in ("entity_id", "timestamp", "cpu")), strict=True))
        sent = [(e, START + timedelta(hours=h), v) for e, values in good.items() for h, v in values.items()]
        assert not Counter(sent) - kept
