"""An inspection as a page of text, and its mapping as YAML."""

from __future__ import annotations

from fleetalign.ingest.inspect import Inspection
from fleetalign.interval import format_time

MOST_FILES = 5
MOST_COLUMNS = 200


def inspection_text(found: Inspection) -> str:
    """Files, figures, one line per column, doubts, and the proposed mapping."""
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            _shortened(found.files, MOST_FILES, "files"),
            _figures(found),
            _columns(found),
            ["doubts", *(f"  - {_one_line(doubt)}" for doubt in found.doubts or ["none"])],
            ["proposed mapping", *(f"  {line}" for line in mapping_yaml(found).splitlines())],
        )
    )


def mapping_yaml(found: Inspection) -> str:
    import yaml

    return yaml.safe_dump(found.proposal, sort_keys=False, allow_unicode=True)


def _figures(found: Inspection) -> list[str]:
    span = f"{format_time(found.first)} to {format_time(found.last)}" if found.first and found.last else "none"
    example = f", such as {_one_line(found.entities[0])}" if found.entities else ""
    figures = {
        "layout": found.mapping.layout,
        "decimal mark": found.mapping.decimal or ".",
        "rows": f"{found.rows} read, {found.kept} kept, {sum(found.taken_out.values())} to the quarantine",
        "entities": f"{len(found.entities)}{example}",
        "range": span,
        "step": f"{found.step_seconds} s" if found.step_seconds else "unknown",
    }
    return [f"{name:<14}{value}" for name, value in figures.items()]


def _columns(found: Inspection) -> list[str]:
    width = max(len("column"), *(len(_one_line(name)) for name in found.columns))
    lines = [f"{_one_line(name):<{width}}  {c.role:<12}{_one_line(c.reason)}" for name, c in found.columns.items()]
    return [f"{'column':<{width}}  {'role':<12}why", *_shortened(lines, MOST_COLUMNS, "columns")]


def _shortened(lines: list[str], most: int, what: str) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"… and {len(lines) - most} more {what}"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
