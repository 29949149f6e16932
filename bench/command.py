"""``fleetalign bench``: runs one benchmark, keeps its numbers and pictures, writes the page again."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import page
from fleetalign.errors import UsageError
from fleetalign.progress import Progress

GROWTH = {False: (1_000, 10_000, 100_000), True: (200, 1_000)}
"""Simulated entities, without and with ``quick``."""


def bench(what: str, out: Path, *, data: Path | None, quick: bool, progress: Progress | None = None) -> Path:
    """Run ``what``, one of ``page.TITLES``; returns the page that shows it.

    Writes ``out/benchmarks/<what>.json`` and pictures there, then ``out/benchmarks.md`` from every benchmark that folder
    holds. Raises UsageError when ``detection`` has no data.
    """
    folder = out / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    result = _run(what, folder, data, quick, progress)
    (folder / f"{what}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return page.write(out)


def _run(what: str, folder: Path, data: Path | None, quick: bool, progress: Progress | None) -> dict[str, Any]:
    run: Callable[..., dict[str, Any]] = importlib.import_module(page.MODULES[what]).run
    if what == "detection":
        if data is None:
            raise UsageError(
                "bench detection needs --data FOLDER with labelled Parquet (docs/data.md says which columns)"
            )
        return run(data, folder, quick, progress)
    if what == "speed":
        return run(folder, quick, progress, data)
    if what == "growth":
        return run(GROWTH[quick], folder, quick, progress)
    return run(folder, quick, progress)
