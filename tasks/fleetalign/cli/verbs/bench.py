"""``bench``: the benchmarks live in ``bench/`` of the repository and are not part of the wheel."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleetalign.errors import UsageError
from fleetalign.progress import Bar

REPOSITORY = Path(__file__).parents[4]


def bench(options: argparse.Namespace) -> int:
    if not (REPOSITORY / "bench" / "command.py").is_file():
        raise UsageError(
            "bench runs in a checkout of the repository: clone it, run make env, then .venv/bin/fleetalign bench"
        )
    sys.path.insert(0, str(REPOSITORY))
    from bench.command import bench as measure

    bar = Bar()
    data = Path(options.data) if options.data else None
    page = measure(options.what, Path(options.out), data=data, quick=options.quick, progress=bar)
    bar.close()
    print(page)
    return 0
