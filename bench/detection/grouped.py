"""Pages made incidents: does the product's grouping put together what one fault caused?

The truth of the judged part: incidents of several entities that overlap in time are one fault. Pages are grouped by time
and named metrics alone, as ``fleetalign score --emit`` does. Controls: the same pages, each entity's moved by a random
time, grouped in the same way; and groups of the same sizes, filled at random.

Shapes: n pages.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from bench.detection.decisions import EVENTS, decide
from bench.detection.figures import faults_of
from bench.detection.labelled import GAP_STEPS, Given, Truth
from bench.detection.learned import Learned
from bench.detection.methods import Method
from bench.detection.paging import pages_between, position
from fleetalign.config import AlignConfig
from fleetalign.config.run import EmitConfig
from fleetalign.contracts.pages import Page
from fleetalign.emit.incidents import group_pages
from fleetalign.evaluate.bootstrap import rounded
from fleetalign.evaluate.groups import pair_precision_recall, whole_precision_recall

DRAWS = 20


def experiment(
    learned: Learned, method: Method, given: Given, truth: Truth, config: AlignConfig, seed: int
) -> dict[str, Any]:
    """Measure how well incidents agree with the faults, as JSON.

    It takes all pages of the judged part, and only each entity's first page in each fault: a long fault pages again, which
    no grouping by start can know.
    """
    decision = decide(method, given, config, (EVENTS,))[0]
    # Where each entity's judged part begins is no secret: only its labels are.
    parts = [(given.feedback_steps(e) + GAP_STEPS, given.test_steps(e)) for e in range(given.entities)]
    pages = pages_between(learned, method, decision, given, parts, config)
    faults = faults_of([_samples(page, given) for page in pages], truth)
    true = [(page.entity_id, page.start) if fault < 0 else fault for page, fault in zip(pages, faults, strict=True)]
    first = _first_pages(pages, faults)
    random = np.random.default_rng(seed)
    spans = {e: (begin, end) for e, (begin, end) in zip(given.panel.entity_ids, parts, strict=True)}
    found = grouping(pages)
    controls = {
        "shifted": [grouping(_shifted(pages, spans, given, random)) for _ in range(DRAWS)],
        "random": [random.permutation(found).tolist() for _ in range(DRAWS)],
    }
    rows = []
    for what, keep in (("all pages", list(range(len(pages)))), ("first pages", first)):
        belongs = [true[i] for i in keep]
        entry: dict[str, Any] = {"pages": what, "count": len(keep), "groups": len({found[i] for i in keep})}
        entry["faults"] = len({fault for i, fault in enumerate(faults) if i in set(keep) and fault >= 0})
        entry |= _agreement([found[i] for i in keep], belongs)
        for name, draws in controls.items():
            entry[name] = _mean([_agreement([draw[i] for i in keep], belongs) for draw in draws])
        rows.append(entry)
    return {"group_minutes": EmitConfig().group_minutes, "min_overlap": EmitConfig().min_overlap, "rows": rows}


def grouping(pages: Sequence[Page]) -> list[int]:
    """Return the number of each page's incident, as the product groups them."""
    settings = EmitConfig()
    incidents = group_pages(pages, timedelta(minutes=settings.group_minutes), settings.min_overlap)
    number = {page: n for n, incident in enumerate(incidents) for page in incident.pages}
    return [number[page] for page in pages]


def _samples(page: Page, given: Given) -> tuple[int, int, int]:
    return given.panel.entity_ids.index(page.entity_id), position(given, page.start), position(given, page.end)


def _first_pages(pages: Sequence[Page], faults: Sequence[int]) -> list[int]:
    """Find the first page of each entity in each fault; ``pages`` are sorted by entity and start."""
    seen: dict[Hashable, int] = {}
    for i, (page, fault) in enumerate(zip(pages, faults, strict=True)):
        if fault >= 0:
            seen.setdefault((page.entity_id, fault), i)
    return list(seen.values())


def _shifted(
    pages: Sequence[Page], spans: dict[str, tuple[int, int]], given: Given, random: np.random.Generator
) -> list[Page]:
    """``pages`` with each entity's moved by one random time, circularly in its judged part."""
    step = timedelta(seconds=given.panel.step_seconds)
    offsets = {e: int(random.integers(1, max(end - begin, 2))) for e, (begin, end) in spans.items()}
    moved = []
    for page in pages:
        begin, end = spans[page.entity_id]
        at = position(given, page.start)
        by = ((at - begin + offsets[page.entity_id]) % (end - begin) - (at - begin)) * step
        moved.append(replace(page, start=page.start + by, end=page.end + by))
    return moved


def _agreement(found: Sequence[Hashable], true: Sequence[Hashable]) -> dict[str, float | None]:
    pair, whole = pair_precision_recall(found, true), whole_precision_recall(found, true)
    names = ("pair_precision", "pair_recall", "group_precision", "group_recall")
    return {name: rounded(value) for name, value in zip(names, (*pair, *whole), strict=True)}


def _mean(draws: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of every figure over the draws that have it."""
    out: dict[str, float | None] = {}
    for name in draws[0]:
        known = [draw[name] for draw in draws if draw[name] is not None]
        out[name] = rounded(float(np.mean(known))) if known else None
    return out
