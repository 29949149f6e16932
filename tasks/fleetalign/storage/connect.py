"""Opens the store that a URI names."""

from __future__ import annotations

from fleetalign.errors import ConfigError
from fleetalign.storage.store import Store


def open_store(uri: str) -> Store:
    """Open the store of ``file:///path``, a path, ``s3://bucket/prefix`` or ``memory://name``.

    Raises:
        ConfigError: The scheme is unknown, or the S3 client cannot be configured.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "file", uri
    if scheme == "file":
        from fleetalign.storage.file import FileStore

        return FileStore(rest)
    if scheme == "s3":
        from fleetalign.storage.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix)
    if scheme == "memory":
        from fleetalign.storage.memory import MemoryStore

        return MemoryStore.named(rest)
    raise ConfigError(f"store {uri!r}: unknown scheme; use file:///path, s3://bucket/prefix or a path")
