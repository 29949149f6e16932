"""Times several ways of doing the same in turns, so that what else the machine does hits all of them alike.

A round calls every side once; the order turns round with every round (A B C, C B A, A B C ...). A figure is a median
over rounds with its range; a ratio divides medians, and its range is the same ratio taken round by round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Spread = dict[str, float]
"""``{"median", "min", "max"}``."""


def interleave(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: bool = True,
    before: Callable[[str], None] | None = None,
    after_call: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every side in every round.

    With ``warm_up`` each side is called once before, untimed. ``before`` is called with the side's name in front of
    every call, outside its time; ``after_call`` with (calls done, calls in all).
    """
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    orders = ([names] if warm_up else []) + [names[:: -1 if number % 2 else 1] for number in range(rounds)]
    done = 0
    gc.collect()
    gc.freeze()  # what is loaded already need not be looked through before every call
    try:
        for turn, order in enumerate(orders):
            for name in order:
                if before is not None:
                    before(name)
                gc.collect()
                started = clock()
                sides[name]()
                elapsed = clock() - started
                if not (warm_up and turn == 0):
                    seconds[name].append(elapsed)
                done += 1
                if after_call is not None:
                    after_call(done, len(orders) * len(names))
    finally:
        gc.unfreeze()
    return seconds


def spread(values: Sequence[float]) -> Spread:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def speedup(baseline: Sequence[float], side: Sequence[float]) -> Spread:
    """How many times faster than ``baseline``: its seconds divided by the side's, both one number per round."""
    rounds = [b / s for b, s in zip(baseline, side, strict=True)]
    return {
        "median": statistics.median(baseline) / statistics.median(side),
        "min": min(rounds),
        "max": max(rounds),
    }


def topic(
    title: str,
    what: str,
    seconds: Mapping[str, Sequence[float]],
    *,
    unit: str,
    work: float,
    baselines: Sequence[str] = ("published",),
) -> dict[str, object]:
    """One table of the result: per side its seconds, its figure, and how many times faster than each baseline.

    ``unit`` ending in ``/s`` makes the figure a rate, ``work`` divided by the seconds; otherwise it is the time of one
    piece of work in ``unit`` (``s`` or ``ms``, with a free suffix such as ``ms/entity``).
    """
    scale = 1000.0 if unit.startswith("ms") else 1.0

    def figure(second: float) -> float:
        return work / second if unit.endswith("/s") else scale * second / work

    return {
        "title": title,
        "what": what,
        "unit": unit,
        "work": work,
        "baselines": [b for b in baselines if b in seconds],
        "sides": {
            name: {
                "seconds": list(values),
                "figure": spread([figure(s) for s in values]),
                "speedup": {b: speedup(seconds[b], values) for b in baselines if b in seconds and b != name},
            }
            for name, values in seconds.items()
        },
    }
