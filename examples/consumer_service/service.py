"""Score telemetry over HTTP with the release that a channel points to: ``service.py --store URI --port PORT``."""

from __future__ import annotations

import argparse
import json
import logging
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pyarrow as pa

from fleetalign.errors import BadInput, FleetalignError
from fleetalign.scoring.scorer import Scorer
from fleetalign.scoring.session import Session
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store

log = logging.getLogger("consumer")


class Follower:
    """The release that a channel points to, with the recent telemetry of every entity."""

    def __init__(self, store_uri: str, channel_name: str, poll_seconds: float) -> None:
        self._store = open_store(store_uri)
        self._channel = channel_name
        self._poll_seconds = poll_seconds
        self._polled_at = time.monotonic()
        self._recent: pa.Table | None = None
        self.scorer = Scorer.open(self._store, channel_name)
        self._session = Session(self.scorer)

    def score(self, telemetry: pa.Table) -> pa.Table:
        self.follow()
        scores = self._session.score(telemetry)
        self._remember(telemetry)
        return scores

    def follow(self) -> None:
        """Load the release that the channel points to now, if it moved; keep the old one if loading fails."""
        if time.monotonic() - self._polled_at < self._poll_seconds:
            return
        self._polled_at = time.monotonic()
        try:
            pointer = channel.read(self._store, self._channel)
            if pointer is None or pointer == self.scorer.pointer:
                return
            scorer = Scorer.open(self._store, self._channel)
            session = Session(scorer)
            if self._recent is not None:
                session.score(self._recent)
        except FleetalignError as error:
            log.warning("release %s stays in service: %s", self.scorer.release_id, error)
            return
        self.scorer, self._session = scorer, session
        log.info("release %s is in service", scorer.release_id)

    def _remember(self, telemetry: pa.Table) -> None:
        """Keep the samples that a new session needs: the last ``history_steps`` of every entity."""
        joined = (
            telemetry
            if self._recent is None
            else pa.concat_tables([self._recent, telemetry], promote_options="default")
        )
        kept: dict[tuple[str, str], list[int]] = {}
        names = zip(joined["kind"].to_pylist(), joined["entity_id"].to_pylist(), strict=True)
        for row, name in enumerate(names):
            kept.setdefault(name, []).append(row)
        rows = [row for (kind, _), rows in kept.items() for row in rows[-self._history_steps(kind) :]]
        self._recent = joined.take(sorted(rows))

    def _history_steps(self, kind: str) -> int:
        return max(self.scorer.history_steps(kind), 1) if kind in self.scorer.kinds else 1


def read_lines(body: bytes) -> pa.Table:
    """Telemetry from JSON lines. Raises BadInput for a line that is no sample."""
    samples: list[dict[str, Any]] = []
    for line in filter(None, body.splitlines()):
        try:
            sample = json.loads(line)
            sample["timestamp"] = datetime.fromisoformat(sample["timestamp"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"line {len(samples) + 1}: {error!r}") from None
        samples.append(sample)
    keys = ("kind", "entity_id", "timestamp")
    metrics = sorted({name for sample in samples for name in sample} - {*keys})
    fields = [("kind", pa.string()), ("entity_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC"))]
    try:
        return pa.Table.from_pylist(samples, pa.schema([*fields, *((name, pa.float64()) for name in metrics)]))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(str(error)) from None


class Handler(BaseHTTPRequestHandler):
    """``POST /telemetry`` and ``GET /health``."""

    follower: Follower

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            scores = self.follower.score(read_lines(body))
        except BadInput as error:
            self._answer(400, json.dumps({"error": str(error)}))
        else:
            self._answer(200, "".join(json.dumps(row, default=str) + "\n" for row in scores.to_pylist()))

    def do_GET(self) -> None:
        self.follower.follow()
        pointer = self.follower.scorer.pointer
        expired = pointer.expired(datetime.now(UTC))
        self._answer(
            200, json.dumps({"release_id": pointer.release_id, "sequence": pointer.sequence, "expired": expired})
        )

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Score telemetry over HTTP with the release of a channel.")
    parser.add_argument("--store", required=True, help="file:///path, a path or s3://bucket/prefix")
    parser.add_argument("--channel", default="champion")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--poll-seconds", type=float, default=60.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    Handler.follower = Follower(options.store, options.channel, options.poll_seconds)
    # One request at a time: a session takes the samples of an entity in order.
    HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
