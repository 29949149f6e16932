"""Answers of ``explain``.

They say why a release was or was not promoted, and why an entity has its state and threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetalign.contracts.manifest import Gate, Manifest
from fleetalign.explain.explain import explained
from fleetalign.explain.page import Line
from fleetalign.explain.text import gates_text, release_text
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store


@dataclass(frozen=True, slots=True)
class EntityExplanation:
    """The origin of one entity's aligner row and, if asked, what happened at one instant."""

    release_id: str
    entity: str
    """``KIND/ID``."""
    lines: tuple[Line, ...]
    """Pairs of a label and a sentence; a label may repeat."""

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as one JSON document."""
        return {
            "release_id": self.release_id,
            "entity": self.entity,
            "lines": [{"label": label, "text": text} for label, text in self.lines],
        }

    def text(self) -> str:
        """Write the lines, one below the other."""
        lines = (f"  {label:<12}{text}" for label, text in self.lines)
        return "\n".join([f"{self.entity} in release {self.release_id}", *lines])


@dataclass(frozen=True, slots=True)
class ReleaseExplanation:
    """Figures and gates of one release, and the verdict of every promotion that was asked for."""

    manifest: Manifest
    promotions: tuple[Mapping[str, Any], ...]
    """Records of ``layout.promotion``, one for each champion that the release was compared with."""

    @property
    def failed_gates(self) -> list[str]:
        """Names of the gates that refuse promotion, each once."""
        gates = [*self.manifest.gates, *(gate for record in self.promotions for gate in _comparison_gates(record))]
        return list(dict.fromkeys(gate.name for gate in gates if gate.verdict == "fail"))

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as one JSON document."""
        document = self.manifest.as_document()
        return {
            "release_id": self.manifest.release_id,
            **{name: document[name] for name in ("coverage", "evaluation", "gates")},
            "promotions": [dict(record) for record in self.promotions],
            "failed_gates": self.failed_gates,
        }

    def text(self) -> str:
        """Write figures, gates, every promotion verdict, and the gates that refuse promotion."""
        lines = [f"release {self.manifest.release_id}", release_text(self.manifest)]
        for record in self.promotions:
            lines.append(f"compared with {record['champion_id'] or 'an empty channel'}: {record['verdict']}")
            lines.append(gates_text(_comparison_gates(record)))
        if self.failed_gates:
            names = ", ".join(self.failed_gates)
            lines.append(f"not promoted because of: {names}. Fix the cause, or promote with --force and a --why.")
        elif not self.promotions:
            lines.append("no promotion was requested yet; all its own gates pass")
        return "\n".join(lines)


def explain_entity(store: Store, release_id: str, name: str, at: datetime | None = None) -> EntityExplanation:
    """Explain the aligner row of one entity, and what happened to the entity at ``at``.

    ``name`` is ``ID`` or ``KIND/ID``. Raises NotFound, UsageError, and BadInput when there is no telemetry at ``at``.
    """
    entity, lines = explained(store, release_id, name, at)
    return EntityExplanation(release_id, entity, tuple(lines))


def explain_release(store: Store, release_id: str) -> ReleaseExplanation:
    """Explain whether a release may be promoted. Raises NotFound."""
    manifest = read_manifest(store, release_id)
    records = (store.get_json(info.key) for info in store.list(layout.promotions_of(release_id)))
    return ReleaseExplanation(manifest, tuple(records))


def _comparison_gates(record: Mapping[str, Any]) -> list[Gate]:
    return [Gate.from_document(gate) for gate in record["comparison_gates"]]
