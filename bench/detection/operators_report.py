"""Shows what marks, mutes and grouping came to: tables, and sentences that follow from their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bench.tables import Column, change, difference, number, table, text

BETTER = {
    "event_f1": 1,
    "worst_event_f1": 1,
    "false_pages_per_entity_day": -1,
    "worst_false_pages_per_entity_day": -1,
}
"""Measures of the marks, and the sign of a change for the better."""
WORDS = {
    "event_f1": "event F1",
    "worst_event_f1": "event F1 of the worst decile",
    "false_pages_per_entity_day": "false pages per entity-day",
    "worst_false_pages_per_entity_day": "false pages of the worst decile",
}


def sections(found: Mapping[str, Any]) -> list[str]:
    """One text for each experiment that ``found``, a set's result, has figures for."""
    shown = (
        ("marks", _marks),
        ("muting", _muting),
        ("muting_published", _muting_published),
        ("grouping", _grouping),
    )
    return [show(found[name]) for name, show in shown if found.get(name)]


def verdict(apart: Mapping[str, Any] | None, better: int = 1) -> str:
    """``better``, ``worse`` or ``no difference shown``, by whether the interval holds 0."""
    if apart is None or apart["low"] is None or apart["low"] <= 0 <= apart["high"]:
        return "no difference shown"
    return "better" if better * apart["value"] > 0 else "worse"


def worse(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every figure that more marks made significantly worse, than fewer marks or than none."""
    found = []
    for before, point in itertools.pairwise(points):
        if point["marks"] is None:
            continue
        for name, better in BETTER.items():
            for against, fewer in (("step", before["marks"]), ("gain", 0)):
                apart = point["measures"][name][against]
                if verdict(apart, better) == "worse" and not (against == "gain" and before["marks"] == 0):
                    found.append(f"{WORDS[name]}, {point['marks']} against {fewer}: {difference(apart)}")
    return found


def _marks(found: Mapping[str, Any]) -> str:
    points = found["points"]
    columns = [
        ("marks", lambda p: "all labelled" if p["marks"] is None else str(p["marks"])),
        ("given", lambda p: "–" if p["given"] is None else number(p["given"])),
        *_marked("event F1", "event_f1"),
        change("to none", "event_f1", "measures", "gain"),
        ("random", lambda p: number(p["measures"]["event_f1"]["random"])),
        ("shifted", lambda p: number(p["measures"]["event_f1"]["shifted"])),
        ("worst decile", lambda p: number(p["measures"]["worst_event_f1"]["value"])),
        *_marked("false pages / entity-day", "false_pages_per_entity_day"),
        change("to none", "false_pages_per_entity_day", "measures", "gain"),
        ("worst decile", lambda p: number(p["measures"]["worst_false_pages_per_entity_day"]["value"])),
    ]
    bad = worse(points)
    said = f"Significantly worse with more marks: {'; '.join(bad)}." if bad else (
        "No figure, pooled or of the worst decile, is significantly worse with more marks, than with fewer or than with none."
    )  # fmt: skip
    most = [p for p in points if p["marks"] is not None][-1]
    return (
        "**A few marks**, silence elsewhere. A mark says of a page of the release without a mark whether it was true, or "
        f"reports a missed incident; *given*: as many as there were to give, per entity. Means over {found['draws']} draws; "
        "*worst decile*: mean over the worst tenth of entities by that figure (event F1: of those with incidents). "
        f"`views`, aligned by event F1, first seed. {said} {most['marks']} marks against none: event F1 "
        f"{difference(most['measures']['event_f1']['gain'])}.\n\n{table(points, columns)}"
    )


def _marked(header: str, key: str) -> list[Column]:
    """Make the column of a measure's value and of the change by the last marks."""
    return [(header, lambda p: number(p["measures"][key]["value"])), change("Δ", key, "measures", "step")]


def _muting(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    if not rows:
        return "**Mutes**: no entity pages without a reason in the feedback part, so there is nothing to mute."
    *_, anew, followed = (row["measures"] for row in rows)
    last = followed["vus_pr_noisy"]
    columns = [
        ("metrics muted", lambda row: str(row["muted"])),
        text("thresholds", "thresholds"),
        *_muted("VUS-PR", "vus_pr_noisy"),
        *_muted("event F1", "event_f1_noisy"),
        *_muted("false pages / entity-day", "false_pages_per_entity_day_noisy"),
        ("event F1, all", lambda row: number(row["measures"]["event_f1_all"]["value"])),
        ("false pages, all", lambda row: number(row["measures"]["false_pages_per_entity_day_all"]["value"])),
    ]
    return (
        f"**Mutes** of the noisiest metrics of the {found['entities']} noisiest entities: those that page most where "
        "feedback calls the pages false, and the metrics that these pages name more than true ones "
        f"do, at {found['generous_pages_per_day']:g} pages per entity-day. Figures are of these entities on judged time; *random*: as "
        f"many of their metrics muted at random (mean of {found['random_draws']} draws); *kept*: thresholds from before the "
        f"mutes, which changed the score beneath them. With {rows[-1]['muted']} muted, "
        f"VUS-PR against before: {verdict(last['gain'])} ({difference(last['gain'])}), against random mutes: "
        f"{verdict(last['over_random'])} ({difference(last['over_random'])}); event F1 when aligned anew {_against(anew)}; "
        f"when followed daily {_against(followed)}.\n\n{table(rows, columns)}"
    )


def _muting_published(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    if not rows:
        return "**Mutes, the published experiment**: no entity pages without a reason in the feedback part."
    columns = [
        ("metrics muted", lambda row: str(row["muted"])),
        *_muted("VUS-PR", "vus_pr_noisy"),
        *_muted("PA-F1", "point_adjusted_f1_noisy"),
        *_muted("event F1", "event_f1_noisy"),
        *_muted("false pages / entity-day", "false_pages_per_entity_day_noisy"),
    ]
    last = rows[-1]["measures"]
    said = "; ".join(
        f"{name} {verdict(last[key]['gain'], better)} ({difference(last[key]['gain'])})"
        for name, key, better in (
            ("VUS-PR", "vus_pr_noisy", 1),
            ("PA-F1", "point_adjusted_f1_noisy", 1),
            ("event F1", "event_f1_noisy", 1),
            ("false pages", "false_pages_per_entity_day_noisy", -1),
        )
    )
    return (
        f"**Mutes, the published experiment**: ShareAD's own score under its own aligner, on its {found['entities']} noisiest "
        "entities, which were picked by hand there and are found on the feedback part here, as above; *random*: as many "
        f"metrics muted at random. With {rows[-1]['muted']} muted, against before: {said}.\n\n{table(rows, columns)}"
    )


def _against(measures: Mapping[str, Any]) -> str:
    found = measures["event_f1_noisy"]
    return f"against before: {verdict(found['gain'])}, against random mutes: {verdict(found['over_random'])}"


def _muted(header: str, key: str) -> list[Column]:
    """Make the column of a measure's value, the change by mutes, and that by random mutes."""
    return [
        (header, lambda row: number(row["measures"][key]["value"])),
        change("Δ", key, "measures", "gain"),
        ("random", lambda row: number(row["measures"][key]["random"]) if row["muted"] else "–"),
    ]


def _grouping(found: Mapping[str, Any]) -> str:
    names = ("pair_precision", "pair_recall", "group_precision", "group_recall")
    columns = [
        text("pages", "pages"),
        text("number", "count"),
        text("incidents", "groups"),
        text("faults", "faults"),
        *((name.replace("_", " "), _beside_controls(name)) for name in names),
    ]
    first = next(row for row in found["rows"] if row["pages"] == "first pages")
    return (
        f"**Pages made incidents**: pages within {found['group_minutes']:g} minutes that share {found['min_overlap']:.0%} of "
        "their top metrics are one. The truth: incidents of several entities that overlap in time are one fault. *pair*: of "
        "two pages put together or belonging together; *group*: of groups of several pages, kept whole. In round brackets: "
        "the same pages moved to random times, and groups of the same sizes filled at random. "
        f"{first['count']} first pages of entities in faults make {first['groups']} incidents.\n\n"
        f"{table(found['rows'], columns)}"
    )


def _beside_controls(name: str) -> Any:
    return lambda row: f"{number(row[name])} ({number(row['shifted'][name])}; {number(row['random'][name])})"
