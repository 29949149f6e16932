"""Lists the files of a folder or bucket, with the columns that their paths hold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa

from fleetalign.errors import UsageError
from fleetalign.storage.connect import open_store

PARQUET_SUFFIXES = (".parquet", ".pq")
TEXT_SUFFIXES = (".csv", ".tsv")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FILE_COLUMN = "_file"
"""A column that every file has: its name below the folder, without suffix. For folders of one file per entity."""
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a listing."""

    origin: str
    """Name below the listed folder; it goes into the quarantine."""
    size: int
    """Bytes."""
    open: Callable[[], pa.NativeFile] = field(repr=False)
    path_columns: Mapping[str, str | None]
    """Values for every row: ``_file``, and the keys of ``key=value`` folders."""

    def content(self) -> bytes:
        """Read the whole file, not decompressed."""
        with self.open() as raw:
            data: bytes = raw.read()
        return data

    @property
    def is_parquet(self) -> bool:
        return self.origin.lower().endswith(PARQUET_SUFFIXES)

    @property
    def is_text(self) -> bool:
        return PurePosixPath(self._uncompressed).suffix in TEXT_SUFFIXES

    @property
    def compression(self) -> str | None:
        return COMPRESSIONS.get(PurePosixPath(self.origin.lower()).suffix)

    @property
    def _uncompressed(self) -> str:
        name = self.origin.lower()
        return name.removesuffix(PurePosixPath(name).suffix) if self.compression else name


def list_files(path: str | Path) -> list[SourceFile]:
    """List the file, or every file below the folder or ``s3://`` prefix, in name order.

    Names that start with ``.`` or ``_`` are skipped. Raises UsageError when there is none, StoreError when a bucket
    cannot be listed.
    """
    remote = "://" in str(path) and not str(path).startswith("file://")
    return _remote(str(path)) if remote else _local(Path(str(path).removeprefix("file://")))


def with_path_columns(table: pa.Table, file: SourceFile, names: Sequence[str]) -> pa.Table:
    """Add those of ``names`` to ``table`` that only the path of the file holds."""
    for name in names:
        if name in file.path_columns and name not in table.schema.names:
            value = pa.scalar(file.path_columns[name], pa.string())
            table = table.append_column(name, pa.repeat(value, table.num_rows))
    return table


def _local(path: Path) -> list[SourceFile]:
    if path.is_file():
        return [_local_file(path, path.name)]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; name a Parquet or CSV file, or a folder of them")
    found = [
        _local_file(p, p.relative_to(path).as_posix())
        for p in sorted(path.rglob("*"))
        if p.is_file() and not _is_hidden(p.relative_to(path).as_posix())
    ]
    if not found:
        raise UsageError(f"{path}: the folder is empty; it must hold Parquet or CSV files")
    return found


def _local_file(path: Path, origin: str) -> SourceFile:
    return SourceFile(origin, path.stat().st_size, lambda: pa.OSFile(str(path)), _path_columns(origin))


def _remote(uri: str) -> list[SourceFile]:
    found = list(_remote_files(uri, ""))
    if not found:
        # Not a prefix, then: one object.
        folder, _, name = uri.rpartition("/")
        found = [f for f in _remote_files(folder, name) if f.origin == name] if "://" in folder + "/" else []
    if not found:
        raise UsageError(f"{uri}: nothing is stored there; name an object, or a prefix of Parquet or CSV files")
    return found


def _remote_files(uri: str, prefix: str) -> Iterator[SourceFile]:
    store = open_store(uri)
    # The newest object only: one is read at a time, and its head is looked at before the whole.
    content = functools.lru_cache(maxsize=1)(store.get)
    for info in store.list(prefix):
        if not _is_hidden(info.key) and not info.key.endswith("/"):
            opened = functools.partial(lambda key: pa.BufferReader(content(key)), info.key)
            yield SourceFile(info.key, info.bytes, opened, _path_columns(info.key))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _path_columns(origin: str) -> dict[str, str | None]:
    *folders, name = origin.split("/")
    suffixes = (*PARQUET_SUFFIXES, *TEXT_SUFFIXES, *COMPRESSIONS)
    while PurePosixPath(name).suffix.lower() in suffixes:
        name = PurePosixPath(name).stem
    pairs = [folder.partition("=") for folder in folders if "=" in folder]
    columns: dict[str, str | None] = {key: None if value == HIVE_NULL else unquote(value) for key, _, value in pairs}
    plain = [folder for folder in folders if "=" not in folder]
    return {FILE_COLUMN: "/".join((*plain, name)), **columns}
