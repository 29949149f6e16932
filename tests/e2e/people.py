"""What people look at, on loopback: a mail server, a webhook, and a Prometheus that scrapes StatsD gauges."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from debian import program
from e2e.prometheus_server import free_port, running, wait_ready

SCRAPED_SECONDS = 60.0


@dataclass
class Inbox:
    """What arrived; ``environment`` tells Airflow where to send."""

    environment: dict[str, str]
    prometheus: str
    gauges: dict[str, float]
    """The last value of each StatsD gauge."""
    mails: list[Message] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def inboxes(folder: Path) -> Iterator[Inbox]:
    values: dict[str, float] = {}
    with _gauges(values) as statsd, _prometheus(folder, values) as url:
        inbox = Inbox({}, url, values)
        with _mail(inbox.mails) as smtp, _webhook(inbox.posts) as http:
            extra = {"disable_tls": True, "disable_ssl": True, "from_email": "fleetalign@example.org"}
            mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": smtp, "extra": extra}
            inbox.environment |= {
                "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(mail),
                "AIRFLOW_CONN_CHAT": json.dumps({"conn_type": "http", "host": f"http://127.0.0.1:{http}/hook"}),
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(statsd),
                "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
            }
            yield inbox


def value_in_prometheus(inbox: Inbox, query: str) -> float:
    """The value of ``query``, as soon as it was scraped."""
    deadline = time.monotonic() + SCRAPED_SECONDS
    url = f"{inbox.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        if found:
            return float(found[0]["value"][1])
        assert time.monotonic() < deadline, f"{query} was not scraped"
        time.sleep(0.5)


@contextmanager
def _mail(mails: list[Message]) -> Iterator[int]:
    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            mails.append(message_from_bytes(envelope.content, policy=policy.default))
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@contextmanager
def _webhook(posts: list[dict[str, Any]]) -> Iterator[int]:
    class Handler(_Quiet):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with _serving(Handler) as port:
        yield port


@contextmanager
def _gauges(values: dict[str, float]) -> Iterator[int]:
    """A StatsD server that keeps the last value of every gauge and timer: what a statsd exporter does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.5)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    lines = server.recv(65_536).decode().splitlines()
                except TimeoutError:
                    continue
                for line in lines:
                    if found := re.match(r"([^:|]+):([-+.e0-9]+)\|(g|ms)", line):
                        values[re.sub(r"\W", "_", found[1])] = float(found[2])

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


@contextmanager
def _prometheus(folder: Path, values: dict[str, float]) -> Iterator[str]:
    class Handler(_Quiet):
        def do_GET(self) -> None:
            body = "".join(f"{name} {value}\n" for name, value in list(values.items())).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

    with _serving(Handler) as exporter:
        settings, port = folder / "prometheus.yml", free_port()
        settings.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: statsd, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
        )
        url = f"http://127.0.0.1:{port}"
        with running(
            program("prometheus"), f"--config.file={settings}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ) as server:  # fmt: skip
            wait_ready(f"{url}/-/ready", server)
            yield url


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
