"""A store in an S3 bucket, through boto3.

Endpoint and credentials come from boto3's own chain (``AWS_ENDPOINT_URL``, profile, role). Stores older than
AWS's default checksums need ``storage.checksums: when_required`` (see docs/operate.md). Timeouts and retries are
botocore's, set from ``storage`` in the configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from fleetalign.errors import ConfigError, Conflict, NotFound, StoreError
from fleetalign.storage.store import ObjectInfo, Store, Versioned

CONDITION_ATTEMPTS = 5


class S3Store(Store):
    """A store in an S3 bucket.

    Needs GetObject, PutObject, DeleteObject and ListBucket on ``bucket/prefix``.
    """

    def __init__(self, bucket: str, prefix: str = "") -> None:
        """Create a client for ``bucket``; every key gets ``prefix``.

        Raises:
            ConfigError: boto3 rejects the endpoint or the profile.
        """
        import boto3
        from botocore.config import Config as BotoConfig
        from botocore.exceptions import BotoCoreError

        from fleetalign.config import storage_settings

        settings = storage_settings()
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/")
        try:
            self._client = boto3.client(
                "s3",
                config=BotoConfig(
                    connect_timeout=settings.connect_timeout_seconds,
                    read_timeout=settings.read_timeout_seconds,
                    retries={"mode": "standard", "total_max_attempts": settings.attempts},
                    request_checksum_calculation=settings.checksums,
                    response_checksum_validation=settings.checksums,
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"{self.uri}: {error}; check AWS_PROFILE and AWS_ENDPOINT_URL") from None

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404"):
                raise NotFound(f"{self.uri}/{key} does not exist") from None
            raise StoreError(f"{self.uri}/{key}: {code}: {error}; check bucket, policy and credentials") from error
        except BotoCoreError as error:
            raise StoreError(f"{self.uri}/{key}: {error}; check AWS_ENDPOINT_URL, network and credentials") from error

    def get_versioned(self, key: str) -> Versioned:
        with self._translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return Versioned(answer["Body"].read(), answer["ETag"])

    def put(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._conditional(key, data, {"IfNoneMatch": "*"})

    def swap(self, key: str, data: bytes, version: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        if not self._conditional(key, data, condition):
            raise Conflict(f"{self.uri}/{key} was changed by another writer; read it again and retry")

    def _conditional(self, key: str, data: bytes, condition: dict[str, Any]) -> bool:
        """Write if the condition holds and return whether it did.

        A 409 means another write was in flight.
        """
        from botocore.exceptions import ClientError

        for _ in range(CONDITION_ATTEMPTS):
            try:
                with self._translated(key):
                    self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, **condition)
                return True
            except StoreError as error:
                cause = error.__cause__
                code = cause.response.get("Error", {}).get("Code", "") if isinstance(cause, ClientError) else ""
                if code in ("PreconditionFailed", "412") or (isinstance(error, NotFound) and "IfMatch" in condition):
                    # A retried request may itself have won: its answer was lost, its bytes are stored.
                    return self._retried(cause) and self._is(key, data)
                if code not in ("ConditionalRequestConflict", "409"):
                    raise
        raise Conflict(f"{self.uri}/{key}: another conditional write was in flight {CONDITION_ATTEMPTS} times; retry")

    def _is(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key) == data
        except NotFound:
            return False

    @staticmethod
    def _retried(error: BaseException | None) -> bool:
        metadata = getattr(error, "response", {}).get("ResponseMetadata", {})
        return bool(metadata.get("RetryAttempts", 0))

    def exists(self, key: str) -> bool:
        try:
            with self._translated(key):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except NotFound:
            return False
        return True

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield ObjectInfo(item["Key"][len(self._prefix) :], item["Size"], item["LastModified"])

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
