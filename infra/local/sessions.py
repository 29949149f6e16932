"""Starts, finds and ends servers, each of which is a session of processes.

A session and not a process group, because Airflow gives every task a group of its own: a signal to the server's group
would leave the task behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

TERM_SECONDS = 20.0
KILL_SECONDS = 5.0
WORDS = ("airflow", "celery", "postgres", "redis")
"""One of them is in every command line: after a reboot a session's number may belong to another program."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """The servers that ``file`` (JSON: name to session and start) remembers."""

    file: Path

    def start(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str],
        folder: Path,
        **options: Any,
    ) -> None:
        """Start ``name`` in a session of its own, appending to ``log``; ``options`` are Popen's."""
        with open(log, "ab") as words:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        self._write(self._read() | {name: {"session": process.pid, "started_at": datetime.now(UTC).isoformat()}})

    def names(self) -> list[str]:
        """List the servers in the order of their start."""
        return list(self._read())

    def started_at(self, name: str) -> datetime:
        return datetime.fromisoformat(self._read()[name]["started_at"])

    def alive(self, name: str) -> bool:
        """Return whether the process of ``start`` runs; its children may outlive it."""
        session = self._read().get(name, {}).get("session")
        return any(process.pid == session for process in self.processes(name))

    def processes(self, *names: str) -> list[psutil.Process]:
        """List the running processes of these servers, or of all."""
        known = self._read()
        sessions = {known[name]["session"] for name in names or known if name in known}
        everything: dict[int, psutil.Process] = {}
        children: dict[int, list[int]] = {}
        for process in psutil.process_iter(["cmdline", "ppid"]):
            everything[process.pid] = process
            children.setdefault(process.info["ppid"], []).append(process.pid)
        found: dict[int, psutil.Process] = {}
        for pid, process in everything.items():
            try:
                if os.getsid(pid) not in sessions:
                    continue
            except (ProcessLookupError, PermissionError):
                continue
            # Redis has no command line for a moment, while it changes its title.
            line = " ".join(process.info["cmdline"] or ())
            if line and not any(word in line for word in WORDS):
                continue
            # PostgreSQL gives each of its processes a session of its own. One that ends meanwhile does not affect the
            # others: they come and go.
            family = [pid]
            for member in family:
                family += children.get(member, ())
            found |= {member: everything[member] for member in family if _runs(everything[member])}
        return list(found.values())

    def end(self, *names: str) -> int:
        """End these servers, or all, and return how many processes there were.

        They get TERM, and KILL after ``TERM_SECONDS``.
        """
        known = self._read()
        chosen = [name for name in names or known if name in known]
        first = self.processes(*chosen) if chosen else []
        left = first
        for name in chosen:
            # Only the server's own group: the supervisor of a task passes the signal on.
            if self.processes(name):
                _send(os.killpg, known[name]["session"], signal.SIGTERM)
        for patience_seconds in (TERM_SECONDS, KILL_SECONDS):
            deadline = time.monotonic() + patience_seconds
            while left := self.processes(*chosen) if chosen else []:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            for process in left:
                _send(os.kill, process.pid, signal.SIGKILL)
        self._write({name: server for name, server in known.items() if name not in chosen})
        return len(first)

    def _read(self) -> dict[str, Any]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def _write(self, servers: dict[str, Any]) -> None:
        if servers:
            self.file.write_text(json.dumps(servers, indent=1))
        else:
            self.file.unlink(missing_ok=True)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _send(send: Any, number: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        send(number, signal_number)
