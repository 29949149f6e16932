"""A client of Prometheus' HTTP API: range queries, with bounded time, memory and retries."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from fleetalign.contracts.arrays import Floats, Ints
from fleetalign.errors import BadInput, ConfigError, FleetalignError, StoreError

MAX_POINTS = 11_000
"""Points of one series that a server gives in one answer; it refuses longer ranges."""
MAX_ANSWER_BYTES = 16 << 20
"""Parsed JSON takes about eight times its bytes."""
SILENCE_SECONDS = 150.0
"""Longer than the two minutes after which a server gives up on a query by default."""
ANSWER_SECONDS = 600.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
RETRIED = (408, 429, 500, 502, 503, 504)
READ_BYTES = 1 << 20
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
OWN_HEADERS = ("authorization", "connection", "content-length", "content-type", "host", "transfer-encoding")


class AnswerTooLarge(Exception):
    """The answer exceeds what client or server hold in memory: query a shorter range."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer; points that are absent are missing."""

    labels: Mapping[str, str]
    times: Ints
    """Seconds since 1970 [point]."""
    values: Floats
    """[point]"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a range query."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...]
    """What the server could not read; the series are then incomplete."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the credentials to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class PrometheusApi:
    """A Prometheus server; ``url`` and messages hold no credentials."""

    def __init__(self, url: str, token_file: str = "", headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Raise ConfigError when ``url`` is no URL, or ``token_file`` or ``headers`` are bad."""
        parts = _checked(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._headers = _authorization(parts, token_file) | _checked_headers(headers)
        self._opener = urllib.request.build_opener(_NoRedirect)

    def version(self) -> str:
        """Return the server's version; ``unknown`` for a compatible server without one."""
        try:
            return str(self._call("/api/v1/status/buildinfo", None)["data"]["version"])
        except (BadInput, KeyError, TypeError):
            return "unknown"

    def query_range(self, query: str, points: range) -> Answer:
        """Evaluate ``query`` at ``points`` (seconds since 1970, at most ``MAX_POINTS``).

        Raises AnswerTooLarge, BadInput when the server refuses the query, StoreError when it cannot be reached.
        """
        form = {"query": query, "start": points[0], "end": points[-1], "step": points.step}
        document = self._call("/api/v1/query_range", form)
        try:
            if document["data"]["resultType"] != "matrix":
                raise ValueError(document["data"]["resultType"])
            series = tuple(_series(item, points) for item in document["data"]["result"])
            warnings = tuple(map(_text, document.get("warnings") or ()))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise StoreError(f"{self.url}: query {query!r}: not an answer of Prometheus ({error!r})") from None
        return Answer(series, warnings)

    def _call(self, path: str, form: Mapping[str, Any] | None) -> dict[str, Any]:
        data = urllib.parse.urlencode(form).encode() if form else None
        where = f"{self.url}{path}" + (f": query {form['query']!r}" if form else "")
        failure, pause = "", FIRST_PAUSE_SECONDS
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
                pause = FIRST_PAUSE_SECONDS * 2**attempt
            try:
                request = urllib.request.Request(self.url + path, data, self._headers)
                with self._opener.open(request, timeout=SILENCE_SECONDS) as answer:
                    document: dict[str, Any] = json.loads(_read(answer))
                if document["status"] == "success":
                    return document
                raise BadInput(f"{where}: {document.get('errorType')}: {document.get('error')}")
            except urllib.error.HTTPError as error:
                reason = _reason(error)
                if error.code not in RETRIED:
                    raise _refusal(error.code, reason, where) from None
                failure = f"HTTP {error.code}: {reason}"
                pause = _retry_after(error) or pause
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
                failure = f"{type(error).__name__}: {error}"
        raise StoreError(f"{where}: {ATTEMPTS} attempts failed, the last with {failure}; try again later")


def _checked(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Not shown: it may hold a password.
        raise ConfigError("source.prometheus_url must be like http://host:9090; set it or FLEETALIGN_PROMETHEUS_URL")
    return parts


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in OWN_HEADERS:
            raise ConfigError(
                f"source.prometheus_headers: {name!r} is no header to set; give one such as X-Scope-OrgID, and "
                "credentials by source.prometheus_token_file"
            )
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"source.prometheus_headers: the value of {name} must be printable ASCII text")
    return dict(headers)


def _authorization(parts: urllib.parse.SplitResult, token_file: str) -> dict[str, str]:
    if token_file:
        try:
            return {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"source.prometheus_token_file {token_file}: {type(error).__name__}: not readable"
            ) from None
    if parts.username is None:
        return {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _read(answer: IO[bytes]) -> bytearray:
    body, deadline = bytearray(), time.monotonic() + ANSWER_SECONDS
    while piece := answer.read(READ_BYTES):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerTooLarge
        if time.monotonic() > deadline:
            raise TimeoutError(f"the answer took longer than {ANSWER_SECONDS:.0f} s")
    return body


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the error in the server's JSON, else the start of the body."""
    try:
        text = error.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return error.reason
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return " ".join(text.split())[:200] or error.reason


def _refusal(code: int, reason: str, where: str) -> FleetalignError | AnswerTooLarge:
    if code == 422 and "too many samples" in reason:
        return AnswerTooLarge(reason)
    if code in (401, 403):
        return ConfigError(f"{where}: HTTP {code}: {reason}; check the credentials")
    return BadInput(f"{where}: HTTP {code}: {reason}")


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Return the seconds that the server asks to wait; 0 without such a number."""
    text = error.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _series(item: Mapping[str, Any], asked: range) -> Series:
    # Native histograms come without "values": they are no single number.
    points = item.get("values", ())
    times = np.array([round(float(t)) for t, _ in points], dtype=np.int64)
    if len(times) and (times[0] < asked[0] or times[-1] > asked[-1] or ((times - asked[0]) % asked.step).any()):
        raise ValueError("it has points that were not asked for")
    if (np.diff(times) <= 0).any():
        raise ValueError("its points are not in the order of time")
    labels = {_text(name): _text(value) for name, value in item["metric"].items()}
    return Series(labels, times, np.array([v for _, v in points], dtype=np.float64))


def _text(value: str) -> str:
    """Check that ``value`` is text; JSON can also write half of a surrogate pair."""
    value.encode()
    return value
