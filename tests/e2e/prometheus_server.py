"""A real Prometheus on loopback: made-up history put into its storage, and a real exporter that it scrapes."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from debian import program

START = 1_772_409_600  # 2026-03-02T00:00:00Z
SCRAPE_SECONDS = 60
DAY_SCRAPES = 1440
RESET = 700
"""Scrape at which web-1's counter starts again."""
GAP = range(600, 720)
"""Scrapes that web-2 misses."""
NUM_MANY = 500
READY_SECONDS = 60
SCRAPED_SECONDS = 120


@contextmanager
def prometheus(folder: Path, lines: Iterable[str] | None = None) -> Iterator[str]:
    """URL of a server that holds ``lines`` of OpenMetrics (default: one day) and scrapes a node exporter every second."""
    history = folder / "history.om"
    with history.open("w") as file:
        file.writelines(_history() if lines is None else lines)
    storage, exporter_port, port = folder / "storage", free_port(), free_port()
    promtool = program("promtool", "prometheus")
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", history, storage]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    settings = folder / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter_port}']}}]}}]\n"
    )
    url = f"http://127.0.0.1:{port}"
    with (
        running(program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{exporter_port}"),
        running(
            program("prometheus"), f"--config.file={settings}", f"--storage.tsdb.path={storage}",
            f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=20y", "--log.level=error",
        ) as server,
    ):  # fmt: skip
        wait_ready(f"{url}/-/ready", server)
        yield url


def wait_for_scrapes(url: str, least: int, within_seconds: int) -> None:
    """Until the exporter was scraped ``least`` times in the last ``within_seconds``: how soon depends on the machine's load."""
    query = urllib.parse.urlencode({"query": f"count_over_time(node_load1[{within_seconds}s])"})
    deadline = time.monotonic() + SCRAPED_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        if found and float(found[0]["value"][1]) >= least:
            return
        time.sleep(0.5)
    raise AssertionError(f"{url}: fewer than {least} scrapes in {within_seconds} s, after {SCRAPED_SECONDS} s")


def _history() -> Iterable[str]:
    yield "# TYPE cpu gauge\n"
    for host in ("web-1", "web-2"):
        for i, at in _scrapes(host):
            yield f'cpu{{host="{host}"}} {i} {at}\n'
    yield "# TYPE requests counter\n"
    for host in ("web-1", "web-2"):
        for i, at in _scrapes(host):
            seconds = SCRAPE_SECONDS * (i - RESET if host == "web-1" and i >= RESET else i)
            yield f'requests_total{{host="{host}"}} {2 * seconds} {at}\n'
    yield "# TYPE many gauge\n"
    for entity in range(NUM_MANY // 5):
        for metric in range(5):
            for i in range(DAY_SCRAPES):
                yield f'many{{pod="p{entity}",name="m{metric}"}} {entity + i / 7} {START + i * SCRAPE_SECONDS}\n'
    yield "# EOF\n"


def _scrapes(host: str) -> Iterable[tuple[int, int]]:
    return ((i, START + i * SCRAPE_SECONDS) for i in range(DAY_SCRAPES) if host == "web-1" or i not in GAP)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"{url} did not become ready; the process exited with {process.poll()}")
