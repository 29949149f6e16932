"""Releases and channels of a store, found and listed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetalign.contracts.manifest import Manifest
from fleetalign.errors import NotFound, UsageError
from fleetalign.explain.text import release_text
from fleetalign.interval import format_time
from fleetalign.plan import receipts
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.channel import Pointer
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store


@dataclass(frozen=True, slots=True)
class ListedRelease:
    """One release of a store."""

    release_id: str
    stored_at: datetime
    channels: tuple[str, ...]
    """Names of the channels that point to it, sorted."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Every release of a store, and every move of one channel."""

    releases: tuple[ListedRelease, ...]
    channel: str
    history: tuple[Pointer, ...]
    """Oldest first."""

    def as_json(self) -> dict[str, Any]:
        """Return the listing as one JSON document."""
        return {
            "releases": [
                {"release_id": r.release_id, "stored_at": format_time(r.stored_at), "channels": list(r.channels)}
                for r in self.releases
            ],
            "channel": self.channel,
            "history": [pointer.as_json() for pointer in self.history],
        }

    def text(self) -> str:
        """Write one line per release, then one line per move of the channel."""
        lines = []
        for release in self.releases:
            on = " ".join(f"<- {name}" for name in release.channels)
            lines.append(f"{release.release_id}  {release.stored_at:%Y-%m-%d %H:%M}  {on}".rstrip())
        lines += [f"{p.channel} {p.sequence:>4}  {p.release_id}  {p.moved_at}  {p.by}: {p.why}" for p in self.history]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ShownRelease:
    """One release: its checked manifest, and the channels that point to it."""

    manifest: Manifest
    channels: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the manifest with its sha256 and channels as one JSON document."""
        return {
            "release_id": self.manifest.release_id,
            "manifest_sha256": self.manifest.digest,
            "channels": list(self.channels),
            "manifest": self.manifest.as_document(),
        }

    def text(self) -> str:
        """Write ids, kinds, coverage, figures next to their controls, and gates."""
        lines = [
            f"release {self.manifest.release_id}",
            f"channels {', '.join(self.channels) or 'none'}",
            f"aligner {self.manifest.aligner_id}",
        ]
        for name, kind in sorted(self.manifest.kinds.items()):
            sizes = f"{len(kind.metrics)} metrics, one sample per {kind.step_seconds} s"
            lines.append(f"kind {name}: {kind.network} {kind.model_id}, {sizes}")
        return "\n".join([*lines, release_text(self.manifest)])


def list_releases(store: Store, channel: str) -> Listing:
    """List every release with the channels that point to it, and the history of ``channel``."""
    on = _channels_by_release(store)
    found = []
    for info in store.list(layout.RELEASES):
        release_id, _, name = info.key.removeprefix(layout.RELEASES).partition("/")
        if name == "manifest.json":
            found.append(ListedRelease(release_id, info.modified_at, on.get(release_id, ())))
    return Listing(tuple(found), channel, tuple(channels.history(store, channel)))


def show_release(store: Store, release_id: str) -> ShownRelease:
    """Read one release and the channels that point to it.

    Raises NotFound, and Corrupt for an altered manifest.
    """
    return ShownRelease(read_manifest(store, release_id), _channels_by_release(store).get(release_id, ()))


def released_on(store: Store, channel: str) -> str:
    """Return the id of the release that ``channel`` points to. Raises NotFound for none."""
    pointer = channels.read(store, channel)
    if pointer is None:
        raise NotFound(f"{store.uri}: channel {channel!r} points nowhere yet; name a --release or promote one")
    return pointer.release_id


def newest_release(store: Store) -> str:
    """Return the id of the newest release. Raises UsageError when there is none."""
    plan_id = receipts.latest(store, "release")
    if plan_id is None:
        raise UsageError(f"{store.uri}: there is no release yet; run `fleetalign run` first")
    return receipts.read_release(store, plan_id).release_id


def read_report(store: Store, release_id: str) -> bytes:
    """Read the HTML report of a release. Raises NotFound."""
    return store.get(layout.release(release_id, "report.html"))


def _channels_by_release(store: Store) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in channels.names(store):
        if pointer := channels.read(store, name):
            found[pointer.release_id] = (*found.get(pointer.release_id, ()), name)
    return found
