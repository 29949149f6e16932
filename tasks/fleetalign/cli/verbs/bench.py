"""``bench``: what the benchmarks measure is in ``fleetalign.bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fleetalign.progress import Bar


def bench(options: argparse.Namespace) -> int:
    from fleetalign.bench.command import bench as measure

    bar = Bar()
    data = Path(options.data) if options.data else None
    page = measure(options.what, Path(options.out), data=data, quick=options.quick, progress=bar)
    bar.close()
    print(page)
    return 0
