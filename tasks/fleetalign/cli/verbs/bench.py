"""``bench``: the benchmarks are in ``bench/`` of the repository and not part of the wheel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleetalign.cli.output import bar, show
from fleetalign.errors import UsageError

REPOSITORY = Path(__file__).parents[4]


def bench(options: argparse.Namespace) -> None:
    if not (REPOSITORY / "bench" / "command.py").is_file():
        raise UsageError(
            "bench runs in a checkout of the repository: clone it, run make env, then .venv/bin/fleetalign bench"
        )
    sys.path.insert(0, str(REPOSITORY))
    from bench.command import bench as measure

    data = Path(options.data) if options.data else None
    with bar(options) as progress:
        document = measure(options.what, Path(options.out), data=data, quick=options.quick, progress=progress)
    show(options, {"file": str(document)}, str(document))
