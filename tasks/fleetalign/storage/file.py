"""A store in a local directory.

Network file systems are not supported: they may break ``link`` and ``flock``.

Create = temporary file, fsync, ``link()``; swap = lock, compare, ``rename()``. A kill at any point leaves either
the old object or the new one; ``list`` does not show temporary files that were left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fleetalign.errors import Conflict, NotFound, StoreError, UsageError
from fleetalign.storage.store import ObjectInfo, Store, Versioned

LOCK_TIMEOUT_SECONDS = 30.0
_PRIVATE = ".fleetalign"


class FileStore(Store):
    """A store in a local directory."""

    def __init__(self, root: str) -> None:
        """Use the directory ``root``, which is created by the first write."""
        self._root = Path(root).expanduser().absolute()
        self.uri = f"file://{self._root}"

    @property
    def root(self) -> Path:
        """The absolute path of the directory."""
        return self._root

    def _path(self, key: str) -> Path:
        if not key or key.startswith("/") or any(part in ("", ".", "..", _PRIVATE) for part in key.split("/")):
            raise UsageError(f"{key!r} is not a valid key")
        return self._root / key

    def _temporary(self, data: bytes) -> Path:
        folder = self._root / _PRIVATE / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / uuid.uuid4().hex
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return path

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{self.uri}/{key} does not exist") from None
        except OSError as error:
            raise StoreError(
                f"{self.uri}/{key}: {error.strerror or error}; check the disk and its permissions"
            ) from error

    def get_versioned(self, key: str) -> Versioned:
        with self._translated(key):
            path = self._path(key)
            if path.is_dir():
                raise FileNotFoundError(key)
            data = path.read_bytes()
        return Versioned(data, hashlib.sha256(data).hexdigest())

    def put(self, key: str, data: bytes) -> None:
        with self._translated(key):
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._temporary(data), path)
            _sync_directory(path.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._translated(key):
            path = self._path(key)
            if path.exists():
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._temporary(data)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
            _sync_directory(path.parent)
            return True

    def swap(self, key: str, data: bytes, version: str | None) -> None:
        with self._lock(key):
            try:
                current = self.get_versioned(key).version
            except NotFound:
                current = None
            if current != version:
                raise Conflict(f"{self.uri}/{key} was changed by another writer; read it again and retry")
            self.put(key, data)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        self._path(key)
        folder = self._root / _PRIVATE / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / hashlib.sha256(key.encode()).hexdigest()[:32], "wb") as file:
            deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(
                            f"{self.uri}/{key}: lock not free after {LOCK_TIMEOUT_SECONDS:.0f} s; is a writer stuck?"
                        ) from None
                    time.sleep(0.02)
            yield

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = self._root / prefix.rpartition("/")[0]
        found = []
        for directory, folders, files in os.walk(folder):
            folders[:] = [f for f in folders if f != _PRIVATE]
            for name in files:
                key = os.path.relpath(os.path.join(directory, name), self._root)
                if key.startswith(prefix):
                    found.append(key)
        for key in sorted(found):
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(self._root / key)
                yield ObjectInfo(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def delete(self, key: str) -> None:
        with self._translated(key), contextlib.suppress(FileNotFoundError):
            self._path(key).unlink()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
