"""``manifest.json``: what a release is made of, as typed values (contracts 5.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fleetalign.contracts.document import Document
from fleetalign.contracts.plan import Ranges
from fleetalign.errors import Corrupt

MANIFEST_VERSION = "1.3"
Verdict = Literal["pass", "fail", "not_applicable"]


def rounded(value: float | None) -> float | None:
    """Return ``value`` to nine significant digits, so that equal figures stay equal bytes.

    None when it is not finite.
    """
    return None if value is None or not math.isfinite(value) else float(f"{value:.9g}")


@dataclass(frozen=True, slots=True)
class Gate(Document):
    """A condition that a release must meet (contracts 5.2).

    It holds what was measured, the limit, and the outcome.
    """

    name: str
    value: float | None
    """None: there was nothing to measure."""
    limit: float | None
    verdict: Verdict
    why: str

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object, numbers to nine significant digits."""
        values = {"value": rounded(self.value), "limit": rounded(self.limit)}
        return {"name": self.name, **values, "verdict": self.verdict, "why": self.why}


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage(Document):
    """How many entities have an aligner row of their own."""

    entities: int
    own_rows: int
    share: float
    """``own_rows`` among the entities that are neither new nor gone; 0 without any."""
    by_state: Mapping[str, int]
    """Entities per aligner state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFile(Document):
    """One file of a release, checked by its hash."""

    key: str
    bytes: int
    sha256: str
    role: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KindManifest(Document):
    """The model of one kind and how to feed it (contracts 3.1)."""

    model_id: str
    model: str
    """Key of the graph."""
    golden: str
    """Key of its golden vectors."""
    network: str
    window_steps: int
    step_seconds: int
    metrics: tuple[str, ...]
    """The metric catalogue, in the order of the graph's axis."""
    inputs: tuple[str, ...]
    """Roles that the graph reads."""
    condition_used: bool
    ir_version: int | None = None
    """Version of ONNX's file format that the graph is written in; None: a release before 1.2, whose graph says it."""
    opset: int | None = None
    """Version of ONNX's operators that the graph uses; None likewise."""
    seasonal_lags_steps: tuple[int, ...] = ()
    """Steps before the newest sample that the role ``seasonal`` reads."""
    statistics_columns: tuple[str, ...] = ()
    """Normalizer columns that the role ``statistics`` reads."""
    state_size: int | None = None
    """Width of the graph's state; None: it keeps none."""
    state_chains: bool = False
    """Whether a row of NaN state continues the row before it."""
    state_settle_steps: int | None = None
    """Samples after which an earlier state no longer matters; None: never."""

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object; a graph without state has no fields about one."""
        document = Document.as_document(self)
        if self.state_size is None:
            for name in ("state_size", "state_chains", "state_settle_steps"):
                del document[name]
        return document


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest(Document):
    """A release. Its id is the hash of everything else in it, the hashes of its files included."""

    schema_version: str = "1.2"
    """1.3, if it has ``phases``."""
    release_id: str
    files: tuple[ReleaseFile, ...]
    kinds: Mapping[str, KindManifest]
    normalizer: str
    """Key of the table; ``aligner`` and ``mutes`` likewise."""
    normalizer_id: str
    aligner: str
    aligner_id: str
    mutes: str | None
    """None: nothing is muted."""
    phases: str | None = None
    """Key of the table; None: every entity reports on the grid."""
    data_version: str
    """Id of the telemetry that the release was built from."""
    ranges: Mapping[str, Ranges]
    gates: tuple[Gate, ...]
    """The absolute gates."""
    coverage: Coverage
    evaluation: Mapping[str, Any] | None
    """Figures of quality as ``evaluate.figures.Figures`` writes them; None: nothing was judged."""
    digest: str = ""
    """sha256 of the stored bytes; empty while the release is not published."""

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object without what follows from it or is absent.

        That is ``digest``, and ``phases`` where there are none.
        """
        document = Document.as_document(self)
        del document["digest"]
        if self.phases is None:
            del document["phases"]
        return document

    def file(self, key: str) -> ReleaseFile:
        """Return the entry of ``files`` with that key.

        Raises:
            Corrupt: the manifest does not list it.
        """
        for entry in self.files:
            if entry.key == key:
                return entry
        raise Corrupt(f"release {self.release_id}: manifest.json uses {key} and does not list it; publish it again")
