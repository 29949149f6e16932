"""Doubts about files by kind, so that a thousand of one do not hide the others."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_OF_A_KIND = 20


@dataclass(slots=True)
class Doubts:
    """Sentences for a reader, each once, in the order in which their kinds came up."""

    _by_kind: dict[str, dict[str, None]] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        """Add a sentence; ``kind`` says in a few words what those like it are about."""
        self._by_kind.setdefault(kind, {})[text] = None

    def extend(self, others: Doubts, origin: str) -> None:
        """Add all of ``others``, each with the name of its file."""
        for kind, texts in others._by_kind.items():
            for text in texts:
                self.add(kind, f"{origin}: {text}")

    def lines(self) -> list[str]:
        """Return the sentences, at most 20 of a kind, then the number of the others."""
        lines = []
        for kind, texts in self._by_kind.items():
            lines += list(texts)[:MOST_OF_A_KIND]
            if len(texts) > MOST_OF_A_KIND:
                lines.append(f"… and {len(texts) - MOST_OF_A_KIND} more of {len(texts)}: {kind}")
        return lines
