"""Targets of scores and alarms, written ``NAME=WHERE`` and checked before any work begins."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fleetalign.errors import StoreError, UsageError
from fleetalign.storage.connect import open_store

NAMES = ("parquet", "openmetrics", "alertmanager")


@dataclass(frozen=True, slots=True)
class Target:
    """One target of scores and alarms."""

    name: str
    """``parquet``, ``openmetrics`` or ``alertmanager``."""
    where: str
    """A URL for ``alertmanager``, else a path; for ``parquet`` also ``s3://bucket/key``."""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``NAME=WHERE``.

        Raises:
            UsageError: The name is unknown, the URL is not one, or the file cannot be written.
        """
        name, _, where = text.partition("=")
        if name not in NAMES or not where:
            raise UsageError(f"--emit {text}: write NAME=WHERE; NAME is one of {', '.join(NAMES)}")
        if name == "alertmanager":
            if not where.startswith(("http://", "https://")):
                raise UsageError(f"--emit {text}: give Alertmanager's URL, such as http://127.0.0.1:9093")
        elif where.startswith("s3://"):
            if name != "parquet" or where.count("/") < 3:
                raise UsageError(f"--emit {text}: only parquet goes to a bucket, as s3://bucket/key")
        else:
            writable(Path(where) / "x" if where.endswith("/") else Path(where))
        return cls(name, where)


def parse_all(texts: Iterable[str]) -> list[Target]:
    """Read every target.

    Alertmanager comes last, so that files exist before an operator is paged.
    """
    return sorted((Target.parse(text) for text in texts), key=lambda target: target.name == "alertmanager")


def writable(path: Path) -> Path:
    """Check that a file can be written at ``path`` and return it.

    Raises:
        UsageError: The folder does not exist or is not writable.
    """
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path}: cannot be written; name a file in a folder that exists and is writable")
    return path


def write(where: str, data: bytes) -> None:
    """Create or replace a file or an S3 object: readers see the old or the new bytes.

    Raises:
        StoreError: The disk or the bucket fails.
    """
    if where.startswith("s3://"):
        folder, _, name = where.rpartition("/")
        open_store(folder).put(name, data)
        return
    path = Path(where)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{where}: {error.strerror}; check the disk and its permissions") from None
