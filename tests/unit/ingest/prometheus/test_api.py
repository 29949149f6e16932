"""The client against a server that answers as it is told. The real server is in tests/e2e."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetalign.errors import BadInput, ConfigError, StoreError
from fleetalign.ingest.prometheus import api
from fleetalign.ingest.prometheus.api import AnswerTooLarge, PrometheusApi

POINTS = range(0, 120, 60)


def body(*values: tuple[int, str], warnings: tuple[str, ...] = ()) -> bytes:
    result = [{"metric": {"__name__": "up", "job": "a"}, "values": [list(v) for v in values]}]
    data = {"resultType": "matrix", "result": result}
    return json.dumps({"status": "success", "data": data, "warnings": list(warnings)}).encode()


GOOD = (200, body((0, "1"), (60, "NaN")), {})


@dataclass
class Scripted:
    """``answers`` are given in order, the last one for ever; ``asked`` are the headers of each request."""

    url: str = ""
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=lambda: [GOOD])
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    script = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            script.asked.append(dict(self.headers))
            code, text, headers = script.answers[min(len(script.asked), len(script.answers)) - 1]
            self.send_response(code)
            for name, value in ({"Content-Length": str(len(text))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    script.url = f"http://127.0.0.1:{listening.server_port}"
    monkeypatch.setattr(api, "FIRST_PAUSE_SECONDS", 0.0)
    yield script
    listening.shutdown()
    thread.join(10)
    listening.server_close()


def test_series_and_warnings_are_read(server: Scripted) -> None:
    server.answers = [(200, body((0, "1.5"), (60, "+Inf"), warnings=("half of it",)), {})]
    answer = PrometheusApi(server.url).query_range("up", POINTS)
    [series] = answer.series
    assert (series.times.tolist(), series.values.tolist()) == ([0, 60], [1.5, float("inf")])
    assert (series.labels["job"], answer.warnings) == ("a", ("half of it",))


@pytest.mark.parametrize(
    "failure",
    [
        *((code, b"busy", {}) for code in (429, 500, 502, 503, 504)),
        (200, GOOD[1][:-1], {"Content-Length": str(len(GOOD[1]))}),
        (200, b"<html>not yet</html>", {}),
    ],
)
def test_what_may_pass_is_tried_again(server: Scripted, failure: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "SILENCE_SECONDS", 1.0)
    server.answers = [failure, failure, GOOD]
    assert len(PrometheusApi(server.url).query_range("up", POINTS).series) == 1
    assert len(server.asked) == 3


def test_a_server_that_stays_away_is_a_store_error_after_five_attempts(server: Scripted) -> None:
    server.answers = [(503, json.dumps({"error": "query timed out"}).encode(), {})]
    with pytest.raises(StoreError, match="query 'up': 5 attempts failed, the last with HTTP 503: query timed out"):
        PrometheusApi(server.url).query_range("up", POINTS)
    assert len(server.asked) == 5


def test_the_pause_that_the_server_asks_for_is_kept(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(api.time, "sleep", pauses.append)
    server.answers = [(429, b"", {"Retry-After": "7"}), (429, b"", {"Retry-After": "3600"}), GOOD]
    PrometheusApi(server.url).query_range("up", POINTS)
    assert pauses == [7.0, api.LONGEST_PAUSE_SECONDS]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((400, b'{"status": "error", "error": "parse error"}', {}), BadInput, "query 'up': HTTP 400: parse error"),
        ((401, b"who", {}), ConfigError, "HTTP 401: who; check the credentials"),
        ((302, b"", {"Location": "http://127.0.0.1:1/"}), BadInput, "HTTP 302"),
        ((200, b'{"status": "error", "errorType": "execution", "error": "no"}', {}), BadInput, "execution: no"),
        ((200, b'{"status": "success", "data": {"resultType": "scalar"}}', {}), StoreError, "not an answer"),
        ((200, body((30, "1")), {}), StoreError, "points that were not asked for"),
        ((200, body((60, "1"), (0, "1")), {}), StoreError, "not in the order of time"),
        ((200, GOOD[1].replace(b"[{", b"[null, {", 1), {}), StoreError, "not an answer"),
        ((200, GOOD[1].replace(b'"a"', b'"\\ud800"'), {}), StoreError, "not an answer"),
    ],
)
def test_a_refusal_is_said_at_once(server: Scripted, answer: tuple, error: type[Exception], message: str) -> None:
    server.answers = [answer]
    with pytest.raises(error, match=message):
        PrometheusApi(server.url).query_range("up", POINTS)
    assert len(server.asked) == 1


def test_an_answer_beyond_memory_is_told_apart(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [(422, b'{"error": "query processing would load too many samples into memory"}', {})]
    with pytest.raises(AnswerTooLarge):
        PrometheusApi(server.url).query_range("up", POINTS)
    server.answers = [GOOD]
    monkeypatch.setattr(api, "MAX_ANSWER_BYTES", len(GOOD[1]) - 1)
    with pytest.raises(AnswerTooLarge):
        PrometheusApi(server.url).query_range("up", POINTS)


def test_a_tenants_header_is_sent_with_every_request(server: Scripted) -> None:
    prometheus = PrometheusApi(server.url, headers={"X-Scope-OrgID": "team-a|team-b"})
    prometheus.version()
    prometheus.query_range("up", POINTS)
    sent = [{name.lower(): value for name, value in asked.items()} for asked in server.asked]
    assert [headers["x-scope-orgid"] for headers in sent] == ["team-a|team-b"]


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer s3cret"}, {"X-A": "a\r\nX-B: s3cret"}, {"X A": "s3cret"}, {"": "s3cret"}]
)
def test_a_header_that_cannot_be_set_is_refused_without_its_value(headers: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"source\.prometheus_headers") as refused:
        PrometheusApi("http://localhost:9090", headers=headers)
    assert "s3cret" not in str(refused.value)


def test_credentials_are_sent_and_never_shown(server: Scripted, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with_password = PrometheusApi(server.url.replace("http://", "http://me:p%40ss@") + "/")
    with_password.query_range("up", POINTS)
    PrometheusApi(server.url, str(token)).query_range("up", POINTS)
    assert [asked["Authorization"] for asked in server.asked] == ["Basic bWU6cEBzcw==", "Bearer s3cret"]
    assert with_password.url == server.url
    server.answers = [(400, b"no", {})]
    with pytest.raises(BadInput) as refused:
        with_password.query_range("up", POINTS)
    assert "p%40ss" not in str(refused.value) and "p@ss" not in str(refused.value)


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://host", "http://", "http://host:port", "http://[::1", ""])
def test_what_is_no_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.prometheus_url must be like"):
        PrometheusApi(url)


def test_a_token_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"source\.prometheus_token_file /nowhere: FileNotFoundError"):
        PrometheusApi("http://host", "/nowhere")
