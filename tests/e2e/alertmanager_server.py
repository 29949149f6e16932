"""A real Alertmanager on loopback, empty."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from debian import program
from e2e.prometheus_server import free_port

READY_SECONDS = 20.0
HOME = Path("/usr/share/prometheus/alertmanager")
CONFIG = "route: {receiver: none}\nreceivers: [{name: none}]\n"


def server_program(folder: Path) -> tuple[Path, Path]:
    """Debian's Alertmanager and the directory to start it in.

    It reads a template at an absolute path, where nothing is when the package is only unpacked: a copy of it looks
    below the directory it is started in.
    """
    found = program("prometheus-alertmanager")
    if (HOME / "default.tmpl").exists():
        return found, folder
    absolute = str(HOME).encode()
    relative = str(HOME.relative_to("/")).replace("/alertmanager", "//alertmanager").encode()
    copy = folder / found.name
    copy.write_bytes(found.read_bytes().replace(absolute, relative))
    copy.chmod(0o755)
    return copy, found.parents[2]


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """URL of a server that keeps its files in ``folder``."""
    (folder / "alertmanager.yml").write_text(CONFIG)
    url = f"http://127.0.0.1:{free_port()}"
    binary, directory = server_program(folder)
    command = [
        binary,
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--cluster.listen-address=",
    ]
    log = folder / "alertmanager.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output)
    try:
        until = time.monotonic() + READY_SECONDS
        while not ready(url):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=READY_SECONDS)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def firing(url: str) -> list[dict[str, Any]]:
    return httpx.get(f"{url}/api/v2/alerts", timeout=5).raise_for_status().json()
