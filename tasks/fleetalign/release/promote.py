"""Moves a channel forward or back to a release (contracts 5.2, 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.manifest import Gate, Manifest, rounded
from fleetalign.errors import GateRefused, NotFound
from fleetalign.release.verify import verify
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

PROMOTION_VERSION = "1.0"

Comparison = Callable[[str | None], Sequence[Gate]]
"""Gates that compare a candidate with the release of that id (None: there is none)."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """The outcome of a promotion."""

    release_id: str
    champion_id: str | None
    moved: bool
    """False when there was nothing to do."""
    why: str
    pointer: channels.Pointer
    comparison_gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a promotion would do now."""

    manifest: Manifest
    channel: str
    current: channels.Pointer | None
    stays: str | None = None
    """Why the channel stays where it is, whatever the gates say; None: the gates decide."""
    comparison_gates: tuple[Gate, ...] = ()

    @property
    def champion_id(self) -> str | None:
        """The release that the channel points to; None: it points nowhere."""
        return None if self.current is None else self.current.release_id

    @property
    def gates(self) -> list[Gate]:
        """The absolute gates, then those of the comparison."""
        return [*self.manifest.gates, *self.comparison_gates]

    @property
    def failed(self) -> list[Gate]:
        """The gates that failed."""
        return [gate for gate in self.gates if gate.verdict == "fail"]

    def refuse_unless(self, force: bool) -> None:
        """Raise GateRefused naming every gate that failed."""
        if self.failed and not force:
            reasons = "; ".join(
                f"{g.name} is {rounded(g.value)}, limit {rounded(g.limit)} ({g.why})" for g in self.failed
            )
            raise GateRefused(
                f"{self.manifest.release_id} was not promoted to {self.channel}: {reasons}; see `fleetalign explain`, "
                "or --force"
            )


def assess(
    store: Store, release_id: str, channel: str, comparison_gates: Comparison, *, force: bool = False
) -> Assessment:
    """Find what ``promote`` would do and record the verdict, without moving the channel.

    Raises what ``promote`` raises, except for failed gates.
    """
    manifest = read_manifest(store, release_id)
    current = channels.read(store, channel)
    if current is not None and (stays := _why_it_stays(store, current, manifest, force)):
        return Assessment(manifest, channel, current, stays)
    _require_verified(store, release_id, channel)
    champion_id = None if current is None else current.release_id
    found = Assessment(manifest, channel, current, None, tuple(comparison_gates(champion_id)))
    record = {
        "schema_version": PROMOTION_VERSION,
        "release_id": release_id,
        "champion_id": champion_id,
        "absolute_gates": [gate.as_document() for gate in manifest.gates],
        "comparison_gates": [gate.as_document() for gate in found.comparison_gates],
        "verdict": "fail" if found.failed else "pass",
    }
    store.put_if_absent(layout.promotion(release_id, champion_id), readable_json(record))
    return found


def promote(
    store: Store,
    release_id: str,
    channel: str,
    by: str,
    why: str,
    comparison_gates: Comparison,
    *,
    force: bool = False,
    expires_after_hours: float,
    now: datetime | None = None,
) -> Promotion:
    """Point ``channel`` to ``release_id`` if every gate allows it.

    ``comparison_gates`` is asked with the id of the release the channel points to (None: nothing yet) and gives gate
    documents; they are recorded at ``layout.promotion`` whatever the outcome. Nothing moves when the channel already
    points to this release, to one that serves the same files, or was rolled back from this one: then only ``force``
    brings it back. ``force`` overrules gates, never a release that does not verify.

    Raises GateRefused naming every gate that failed, NotFound for an unknown release, and Conflict when another
    writer moved the channel meanwhile: the comparison is then out of date, so ask again.
    """
    found = assess(store, release_id, channel, comparison_gates, force=force)
    if found.stays and found.current is not None:
        return Promotion(release_id, found.champion_id, False, found.stays, found.current)
    found.refuse_unless(force)
    pointer = channels.move(
        store, channel, release_id, by, why, expires_after_hours, now or datetime.now(UTC), expected=found.current
    )
    names = ", ".join(gate.name for gate in found.failed)
    outcome = f"forced past {names}" if names else "every gate passed"
    return Promotion(release_id, found.champion_id, True, outcome, pointer, found.comparison_gates)


def _why_it_stays(store: Store, current: channels.Pointer, manifest: Manifest, force: bool) -> str | None:
    """Say why the channel stays, whatever the gates say; None when they decide."""
    channel, release_id = current.channel, manifest.release_id
    if current.release_id == release_id:
        return f"{channel} already points to {release_id}"
    if _served(read_manifest(store, current.release_id, current.manifest_sha256)) == _served(manifest):
        return f"{channel} points to {current.release_id}, which serves the same files"
    left = _rolled_back_from(channels.history(store, channel), release_id)
    if left is not None and not force:
        return f"{channel} was rolled back from {release_id} by {left.by}: {left.why}; --force promotes it anyway"
    return None


def _served(manifest: Manifest) -> set[str]:
    """Return the hashes of what a scorer loads."""
    return {file.sha256 for file in manifest.files}


def _rolled_back_from(history: Sequence[channels.Pointer], release_id: str) -> channels.Pointer | None:
    """Find the move from ``release_id`` back to an earlier release; None without one."""
    ids = [pointer.release_id for pointer in history]
    if release_id not in ids:
        return None
    last = len(ids) - 1 - ids[::-1].index(release_id)
    if last + 1 < len(ids) and ids[last + 1] in ids[:last]:
        return history[last + 1]
    return None


def rollback(
    store: Store,
    channel: str,
    by: str,
    why: str,
    release_id: str | None = None,
    *,
    expires_after_hours: float,
    now: datetime | None = None,
) -> channels.Pointer:
    """Point ``channel`` to an older release: ``release_id``, or the one it pointed to before.

    A rollback moves the pointer forward in sequence, so history keeps everything. Without ``release_id`` a second
    rollback returns to where the first came from. Raises NotFound when there is nothing to go back to or the release
    is gone, GateRefused when it does not verify, Conflict when another writer moved the channel meanwhile.
    """
    current = channels.read(store, channel)
    target = release_id or (current.previous if current else None)
    if target is None:
        raise NotFound(
            f"{store.uri}: channel {channel!r} has no earlier release to go back to; name one with --release"
        )
    _require_verified(store, target, channel)
    return channels.move(
        store, channel, target, by, why, expires_after_hours, now or datetime.now(UTC), expected=current
    )


def _require_verified(store: Store, release_id: str, channel: str) -> None:
    problems = verify(store, release_id)
    if problems:
        raise GateRefused(
            f"{channel} was not moved: release {release_id} does not verify ({'; '.join(problems)}); "
            "publish it again or choose another release"
        )
