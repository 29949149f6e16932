"""What a release must show: absolute gates of its own, and comparisons with the champion (contracts 5.2).

A gate says no (``fail``), yes (``pass``), or that the question does not arise (``not_applicable``), always with why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fleetalign.contracts.manifest import Gate
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import Control, Figures

WITHOUT_OWN_ROW = ("default", "quarantined")
COVERAGE_DROP = 0.05
"""A candidate may cover this share of entities less than the champion: new entities start as ``default``."""
LEAST_CHAMPION_RATE = 0.01
"""Pages per entity-day. A champion that hardly ever pages would otherwise forbid any page at all."""


def _gate(name: str, value: float, limit: float, passed: bool, why: str) -> Gate:
    return Gate(name, value, limit, "pass" if passed else "fail", why)


def coverage_share(by_state: Mapping[str, int]) -> float | None:
    """Share of entities with an aligner row of their own; None when there is no entity."""
    entities = sum(by_state.values())
    without = sum(by_state.get(state, 0) for state in WITHOUT_OWN_ROW)
    return None if entities == 0 else (entities - without) / entities


def coverage(by_state: Mapping[str, int], limit: float) -> Gate:
    """At least ``limit`` of the entities have a row of their own. ``by_state``: entities per aligner state."""
    share, entities = coverage_share(by_state), sum(by_state.values())
    if share is None:
        return Gate("coverage", None, limit, "fail", "the aligner holds no entity")
    without = ", ".join(f"{by_state[s]} {s}" for s in WITHOUT_OWN_ROW if by_state.get(s)) or "none without"
    return _gate("coverage", share, limit, share >= limit, f"{entities} entities, {without}")


def golden_parity(worst: float, limit: float) -> Gate:
    """The exported graph repeats its golden vectors in this runtime to ``limit`` (relative)."""
    value = worst if np.isfinite(worst) else None
    why = "worst relative difference of the exported graph from its golden vectors"
    return _gate("golden_parity", value, limit, value is not None and value <= limit, why)


def pages_per_entity_day(rate: float | None, limit: float) -> Gate:
    """Pages of any kind, true or false, raised per entity-day; None when no time was scored."""
    name = "pages_per_entity_day"
    if rate is None:
        return Gate(name, None, limit, "not_applicable", "no time was scored after training")
    return _gate(name, rate, limit, rate <= limit, "pages, true or false, per entity and day of scored time")


def beats_random(figures: Figures | None) -> Gate:
    """Pooled event F1 above a uniform random score through the same aligner, with 95 % confidence."""
    return _beats("random", "a random score through the same aligner", figures)


def beats_shifted(figures: Figures | None) -> Gate:
    """Pooled event F1 above the detector's own alarms at random times, with 95 % confidence."""
    return _beats("shifted", "its own alarms at shifted times", figures)


def beats_untrained(figures: Figures | None, strict: bool) -> Gate:
    """Pooled event F1 beside the same network with the weights it began with: training must not have made it worse.

    ``strict``: it must have made it better, with 95 % confidence. That takes many incidents, because alignment and the
    rank-one view do most of the work on some fleets (docs/decisions/0006).
    """
    if figures is not None and not figures.untrained:
        return Gate("beats_untrained", None, 0.0, "not_applicable", "the untrained network was not run")
    gate = _beats("untrained", "the untrained network through the same alignment", figures)
    if strict or gate.verdict != "fail":
        return gate
    worse = figures.difference("untrained").high < 0
    return replace(
        gate, verdict="fail" if worse else "pass", why=f"{gate.why}; fails when the whole interval is below 0"
    )


def _beats(control: Control, what: str, figures: Figures | None) -> Gate:
    name = f"beats_{control}"
    if figures is None or figures.incidents == 0:
        return Gate(name, None, 0.0, "not_applicable", "no incident was judged")
    found = figures.difference(control)
    if found.value is None or found.low is None:
        why = f"an interval needs two judged entities with incidents, there are {len(figures.detector)} judged"
        return Gate(name, found.value, 0.0, "not_applicable", why)
    why = f"event F1 minus that of {what}: {_interval(found)} ({figures.protocol.replace('_', ' ')})"
    return _gate(name, found.value, 0.0, found.low > 0, why)


def event_f1_vs_champion(difference: Estimate | None) -> Gate:
    """Event F1 not shown to be below the champion's; ``difference`` is candidate minus champion on the same time."""
    name = "event_f1_vs_champion"
    if difference is None or difference.value is None:
        return Gate(name, None, 0.0, "not_applicable", "no champion, or no judged time that it was not fitted on")
    if difference.high is None:
        return Gate(name, difference.value, 0.0, "not_applicable", "an interval needs two judged entities")
    why = f"event F1 minus the champion's: {_interval(difference)}; fails when the whole interval is below 0"
    return _gate(name, difference.value, 0.0, difference.high >= 0, why)


def pages_vs_champion(
    candidate_rate: float | None, champion_rate: float | None, limit: float, evidence: str = ""
) -> Gate:
    """Pages per entity-day at most ``limit`` times the champion's. ``evidence`` says what else is known of its rate."""
    name = "pages_vs_champion"
    if candidate_rate is None or champion_rate is None:
        return Gate(name, None, limit, "not_applicable", "no champion with scored time to compare with")
    ratio = candidate_rate / max(champion_rate, LEAST_CHAMPION_RATE)
    why = f"{candidate_rate:.3g} pages per entity-day, the champion {champion_rate:.3g}{evidence}"
    return _gate(name, ratio, limit, ratio <= limit, why)


def coverage_vs_champion(candidate: Mapping[str, int], champion: Mapping[str, int] | None) -> Gate:
    """Coverage at most ``COVERAGE_DROP`` below the champion's. Both: entities per aligner state."""
    name = "coverage_vs_champion"
    before = None if champion is None else coverage_share(champion)
    if before is None:
        return Gate(name, None, None, "not_applicable", "no champion to compare with")
    share, limit = coverage_share(candidate) or 0.0, before - COVERAGE_DROP
    return _gate(
        name, share, limit, share >= limit, f"share of entities with a row of their own, champion {before:.3g}"
    )


def _interval(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
