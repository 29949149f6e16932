"""Gates of a release: absolute ones, and comparisons with the champion (contracts 5.2).

A gate's verdict is ``pass``, ``fail`` or ``not_applicable``, always with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fleetalign.contracts.manifest import Gate
from fleetalign.evaluate.bootstrap import Estimate
from fleetalign.evaluate.figures import Control, Figures

WITHOUT_OWN_ROW = ("default", "quarantined")
NOT_COUNTED = ("new", "gone")
"""States of entities that coverage leaves out: their samples are too few for a row of their own, or have ended."""
COVERAGE_DROP = 0.05
"""A candidate's coverage may lie this much below the champion's."""
LEAST_CHAMPION_RATE = 0.01
"""Pages per entity-day. Without it, a champion that hardly ever pages would forbid every page."""


def _gate(name: str, value: float | None, limit: float, passed: bool, why: str) -> Gate:
    return Gate(name, value, limit, "pass" if passed else "fail", why)


def coverage_share(by_state: Mapping[str, int]) -> float | None:
    """Compute the share of entities with an aligner row of their own; None without entities.

    Entities that are new or gone do not count.
    """
    entities = sum(by_state.values()) - sum(by_state.get(state, 0) for state in NOT_COUNTED)
    return None if entities == 0 else (entities - _uncovered(by_state)) / entities


def _uncovered(by_state: Mapping[str, int]) -> int:
    return sum(by_state.get(state, 0) for state in WITHOUT_OWN_ROW)


def _covers(by_state: Mapping[str, int], share: float, limit: float) -> bool:
    """Say whether ``share`` suffices; one entity alone never decides, however small the fleet."""
    return share >= limit or (share > 0 and _uncovered(by_state) == 1)


def coverage(by_state: Mapping[str, int], limit: float) -> Gate:
    """Require that at least ``limit`` of the entities have a row of their own, or all but one.

    Entities that are new or gone do not count. ``by_state`` counts the entities per aligner state.
    """
    share, entities = coverage_share(by_state), sum(by_state.values())
    if not entities:
        return Gate("coverage", None, limit, "fail", "the aligner holds no entity")
    without = (
        ", ".join(f"{by_state[s]} {s}" for s in WITHOUT_OWN_ROW + NOT_COUNTED if by_state.get(s)) or "none without"
    )
    if share is None:
        return Gate("coverage", None, limit, "not_applicable", f"{entities} entities, {without}: the default row holds")
    return _gate("coverage", share, limit, _covers(by_state, share, limit), f"{entities} entities, {without}")


def golden_parity(worst: float, limit: float) -> Gate:
    """Require that the exported graph reproduces its golden vectors to ``limit`` (relative)."""
    value = worst if np.isfinite(worst) else None
    why = "worst relative difference of the exported graph from its golden vectors"
    return _gate("golden_parity", value, limit, value is not None and value <= limit, why)


def pages_per_entity_day(rate: float | None, limit: float) -> Gate:
    """Require at most ``limit`` pages, true or false, per entity-day.

    ``rate`` is None if no time was scored.
    """
    name = "pages_per_entity_day"
    if rate is None:
        return Gate(name, None, limit, "not_applicable", "no time was scored after training")
    return _gate(name, rate, limit, rate <= limit, "pages, true or false, per entity and day of scored time")


def beats_random(figures: Figures | None) -> Gate:
    """Require a pooled event F1 above that of a random score, with 95 % confidence."""
    return _beats("random", "a random score through the same aligner", figures)


def beats_shifted(figures: Figures | None) -> Gate:
    """Require a pooled event F1 above that of shifted alarms, with 95 % confidence."""
    return _beats("shifted", "its own alarms at shifted times", figures)


def beats_untrained(figures: Figures | None, strict: bool) -> Gate:
    """Require that training did not lower the pooled event F1 of the network.

    With ``strict``, training must have raised it, with 95 % confidence. That takes many incidents, because alignment
    and the rank-one view do most of the work on some fleets (docs/decisions/0006).
    """
    if figures is not None and not figures.untrained:
        return Gate("beats_untrained", None, 0.0, "not_applicable", "the untrained network was not run")
    gate = _beats("untrained", "the untrained network through the same alignment", figures)
    if strict or gate.verdict != "fail":
        return gate
    high = None if figures is None else figures.difference("untrained").high
    worse = high is not None and high < 0
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
    """Require an event F1 not shown to be below the champion's.

    ``difference`` is candidate minus champion over the same time.
    """
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
    """Require at most ``limit`` times the champion's pages per entity-day.

    ``evidence`` is further text about the champion's rate.
    """
    name = "pages_vs_champion"
    if candidate_rate is None or champion_rate is None:
        return Gate(name, None, limit, "not_applicable", "no champion with scored time to compare with")
    ratio = candidate_rate / max(champion_rate, LEAST_CHAMPION_RATE)
    why = f"{candidate_rate:.3g} pages per entity-day, the champion {champion_rate:.3g}{evidence}"
    return _gate(name, ratio, limit, ratio <= limit, why)


def coverage_vs_champion(candidate: Mapping[str, int], champion: Mapping[str, int] | None) -> Gate:
    """Require a coverage at most ``COVERAGE_DROP`` below the champion's.

    One entity alone does not fail it. Both count entities per aligner state.
    """
    name = "coverage_vs_champion"
    before = None if champion is None else coverage_share(champion)
    if before is None:
        return Gate(name, None, None, "not_applicable", "no champion to compare with")
    share, limit = coverage_share(candidate), before - COVERAGE_DROP
    if share is None and candidate:
        return Gate(name, None, limit, "not_applicable", "every entity is new or gone")
    share = share or 0.0
    why = f"share of entities with a row of their own, champion {before:.3g}"
    return _gate(name, share, limit, _covers(candidate, share, limit), why)


def _interval(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
