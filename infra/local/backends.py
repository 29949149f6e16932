"""Starts PostgreSQL and Redis for one local Airflow, on 127.0.0.1 and with a password."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_api import StandaloneError, ticks
from airflow_home import last_line
from sessions import Sessions

UP_SECONDS = 30.0
INIT_SECONDS = 60.0
DEBIAN = "/usr/lib/postgresql/*/bin"
"""Debian keeps PostgreSQL's servers off PATH, a folder per version."""
UNPRIVILEGED = ("postgres", "nobody")


def program(name: str) -> str:
    """Find a program.

    Raises:
        StandaloneError: It is missing; the message says what to install.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *sorted(glob.glob(DEBIAN), reverse=True)])
    found = shutil.which(name, path=path)
    if found is None:
        raise StandaloneError(f"{name} is missing; on Debian: apt-get install postgresql redis-server")
    return found


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A PostgreSQL cluster in ``home/postgresql`` with one user, airflow.

    PostgreSQL refuses to run as root, so then the user postgres runs it.
    """

    home: Path
    port: int
    secret: str

    @property
    def folder(self) -> Path:
        return self.home / "postgresql"

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://airflow:{self.secret}@127.0.0.1:{self.port}/postgres"

    def start(self, sessions: Sessions, log: Path, environment: Mapping[str, str]) -> None:
        """Start it and wait until it answers.

        Raises:
            StandaloneError: It does not come up; the message names the log.
        """
        server, user = program("postgres"), self._user()
        if not (self.folder / "PG_VERSION").exists():
            self._initialise(log, user)
        command = [server, "-D", str(self.folder), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        # No waiting for the disk: a crash of the machine may lose the last second, but not the cluster.
        command += ["-c", "unix_socket_directories=", "-c", "synchronous_commit=off"]
        sessions.start("postgresql", command, log, environment=environment, folder=Path("/"), **user)
        _wait("postgresql", sessions, log, self._answers)

    def _initialise(self, log: Path, user: dict[str, Any]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of an initialisation that was cut off
        self.folder.mkdir(mode=0o700)
        password = self.home / "postgresql.password"
        password.touch(mode=0o600)
        password.write_text(self.secret)
        if user:
            for path in (self.folder, password):
                os.chown(path, user["user"], user["group"])
            if subprocess.run(["test", "-w", self.folder], check=False, timeout=UP_SECONDS, **user).returncode:
                raise StandaloneError(
                    f"PostgreSQL does not run as root, and user {pwd.getpwuid(user['user']).pw_name} cannot enter "
                    f"{self.home}; run this as another user, or in a folder that all may enter"
                )
        command = [program("initdb"), "-D", str(self.folder), "-U", "airflow", "-E", "UTF8", "--locale=C"]
        command += ["--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--no-instructions"]
        with open(log, "ab") as words:
            done = subprocess.run(
                command, cwd="/", stdout=words, stderr=subprocess.STDOUT, check=False, timeout=INIT_SECONDS, **user
            )
        password.unlink()
        if done.returncode:
            raise StandaloneError(f"PostgreSQL cannot make its files: {last_line(log)} (all of it: {log})")

    @staticmethod
    def _user() -> dict[str, Any]:
        """Return Popen's options that drop root's rights."""
        if os.geteuid():
            return {}
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        found = next((names[name] for name in UNPRIVILEGED if name in names), None)
        if found is None:
            raise StandaloneError("PostgreSQL does not run as root, and there is no user postgres or nobody: add one")
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}

    def _answers(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.url.replace("+psycopg2", ""), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Redis:
    """The queue, in memory; the scheduler sends lost messages again."""

    home: Path
    port: int
    secret: str

    @property
    def url(self) -> str:
        return f"redis://:{self.secret}@127.0.0.1:{self.port}/0"

    def start(self, sessions: Sessions, log: Path, environment: Mapping[str, str]) -> None:
        """Start it and wait until it answers.

        Raises:
            StandaloneError: It does not come up; the message names the log.
        """
        settings = self.home / "redis.conf"  # every user can read a password on a command line
        settings.touch(mode=0o600)
        settings.write_text(
            f'bind 127.0.0.1\nport {self.port}\nrequirepass {self.secret}\nsave ""\nappendonly no\nlogfile ""\n'
        )
        command = [program("redis-server"), str(settings)]
        sessions.start("redis", command, log, environment=environment, folder=self.home)
        _wait("redis", sessions, log, self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _wait(name: str, sessions: Sessions, log: Path, answers: Any) -> None:
    for _ in ticks(UP_SECONDS, every_seconds=0.2):
        if answers():
            return
        if not sessions.alive(name):
            break
    raise StandaloneError(f"{name} does not start: {last_line(log)} (all of it: {log})")
