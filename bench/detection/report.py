"""Writes the results of ``detection.run`` as Markdown tables; ``detection.plots`` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.detection import operators_report
from bench.detection.decisions import EVENTS, PUBLISHED
from bench.detection.methods import ORDER, RANDOM, SHAREAD, UNTOLD, UNTRAINED, VIEWS
from bench.detection.plots import plots
from bench.tables import Column, change, figure, number, over, table, text

__all__ = ["plots", "tables"]

ALIGNED = (text("method", "method"), text("aligner", "policy"))
CURVE: tuple[Column, ...] = (
    ("VUS-PR", lambda point: number(point["vus_pr"])),
    ("event F1", lambda point: number(point["event_f1"])),
    ("false pages / entity-day", lambda point: number(point["false_pages_per_entity_day"])),
)


def tables(result: Mapping[str, Any]) -> str:
    """Per set: ranking, pages, points, what was chosen, curves and time; then transfer between sets."""
    sections = [_introduction(result), f"### In short\n\n{headline(result)}"]
    for name, found in result["sets"].items():
        sections += [
            f"### {name}\n\n{_sizes(found)}",
            _ranking(found["ranking"]),
            _pages(found["decisions"]),
            _points(found["decisions"]),
            _chosen(found["decisions"]),
            _masked(found.get("masked_metrics")),
            _history(found.get("history")),
            *operators_report.sections(found),
            _time(found),
        ]
    sections.append(_transfer(result))
    return "\n\n".join(section for section in sections if section) + "\n"


def headline(result: Mapping[str, Any]) -> str:
    """Write the figures that matter to an operator on call, for every set.

    They compare the default network with the published way, the untrained network and a random score, each through its
    aligner.
    """
    sides = ((VIEWS, EVENTS), (SHAREAD, PUBLISHED), (UNTRAINED, EVENTS), (RANDOM, EVENTS))

    def ranked(found: Mapping[str, Any], method: str) -> str:
        return over(next(row for row in found["ranking"] if row["method"] == method)["vus_pr"])

    def paged(found: Mapping[str, Any], method: str, policy: str, measure: str) -> str:
        row = next(row for row in found["decisions"] if (row["method"], row["policy"]) == (method, policy))
        return over(row["measures"][measure])

    rows = []
    for name, found in result["sets"].items():
        where = f"{name}: {found['entities']} entities, {found['judged_incidents']} incidents"
        rows.append([where, "VUS-PR", *(ranked(found, method) for method, _ in sides)])
        for label, measure in (("event F1", "event_f1"), ("false pages / entity-day", "false_pages_per_entity_day")):
            rows.append(["", label, *(paged(found, *side, measure) for side in sides)])
    header = [
        "telemetry",
        "figure",
        *(f"{method}, {policy}" if method == SHAREAD else method for method, policy in sides),
    ]
    columns = [(name, lambda row, at=at: row[at]) for at, name in enumerate(header)]
    return table(rows, columns)


def _introduction(result: Mapping[str, Any]) -> str:
    machine, seeds = result["machine"], result["seeds"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    chosen = "; ".join(f"on the {one['part']}: {one['what']}" for one in result["choosing"])
    skipped = result["skipped_files"]
    lines = [
        f"Measured in {result['seconds']:.0f} s on {machine['processor']} ({machine['cores']} cores), Python "
        f"{machine['python']}, {versions}. Training seeds {', '.join(map(str, seeds))}; every network draws "
        f"{result['training_windows']:,} training windows at most."
        + (" A quick run on some entities: it shows the order of things, not the figures." if result["quick"] else ""),
        f"Chosen {chosen}.",
        "A figure is the mean over seeds, in round brackets its range. **Δ** is the difference to "
        f"{SHAREAD} (in page and point tables: aligned by {PUBLISHED}, too), in square brackets its 95 % interval, a "
        "paired bootstrap over entities. An interval that holds 0 shows no difference. Methods without a network have "
        "no seed, and the random score has its own.",
    ]
    if skipped:
        lines.append(f"Files without the columns of labelled telemetry, not measured: {', '.join(skipped)}.")
    return "\n\n".join(lines)


def _sizes(found: Mapping[str, Any]) -> str:
    return (
        f"{found['entities']} entities × {found['metrics']} metrics, a sample every {found['step_seconds']} s. Train "
        f"{found['train_samples']:,} samples; feedback {found['feedback_samples']:,} with {found['feedback_incidents']} "
        f"incidents; judged {found['judged_samples']:,} ({found['judged_days']:.0f} entity-days) with "
        f"{found['judged_incidents']} incidents on {found['entities_with_judged_incidents']} entities, "
        f"{found['judged_anomaly_share']:.1%} of samples."
    )


def _ranking(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [
        text("method", "method"),
        figure("VUS-PR", "vus_pr"),
        change("Δ VUS-PR", "vus_pr"),
        figure("AP", "average_precision"),
        change("Δ AP", "average_precision"),
        figure("AP, pooled", "pooled_average_precision"),
        figure("PA%K area (best thresholds)", "pa_k_area"),
    ]
    return (
        "**Ranking**, before any threshold; mean over entities with judged incidents. A random score gets the share of "
        f"anomalies in AP, and more than that in the others.\n\n{table(rows, columns)}"
    )


def _pages(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [
        *ALIGNED,
        figure("event F1", "event_f1", "measures"),
        change("Δ event F1", "event_f1", "measures"),
        ("shifted", lambda row: number(row["measures"]["event_f1"]["shifted"])),
        figure("per entity", "event_f1_mean_over_entities", "measures"),
        figure("precision", "event_precision", "measures"),
        figure("recall", "event_recall", "measures"),
        figure("false pages / entity-day", "false_pages_per_entity_day", "measures"),
        change("Δ false pages", "false_pages_per_entity_day", "measures"),
        figure("median delay, min", "median_delay_seconds", "measures", 1 / 60),
    ]
    return (
        "**Pages**: what an operator on call experiences. *shifted*: event F1 of the same alarms at random times; the random score "
        f"through the same aligner has rows of its own. *per entity*: mean over entities.\n\n{table(rows, columns)}"
    )


def _points(rows: Sequence[Mapping[str, Any]]) -> str:
    chance = {r["policy"]: r["measures"]["point_adjusted_f1"]["value"] for r in rows if r["method"] == RANDOM}
    columns = [
        *ALIGNED,
        figure("point F1", "point_f1", "measures"),
        change("Δ point F1", "point_f1", "measures"),
        figure("PA-F1", "point_adjusted_f1", "measures"),
        ("random's PA-F1", lambda row: number(chance.get(row["policy"]))),
        change("Δ PA-F1", "point_adjusted_f1", "measures"),
        figure("affiliation F1", "affiliation_f1", "measures"),
        change("Δ affiliation F1", "affiliation_f1", "measures"),
    ]
    return (
        "**Points**. Point-adjusted F1 credits a whole incident for one alarm: compare it with the random score's through "
        f"the same aligner. Affiliation F1 of random alarms is near one half or above.\n\n{table(rows, columns)}"
    )


def _chosen(rows: Sequence[Mapping[str, Any]]) -> str:
    first = [{**row["chosen"][0], "method": row["method"], "policy": row["policy"]} for row in rows]
    columns = [
        *ALIGNED,
        ("candidate of the fleet", _candidate),
        (
            "tail probability",
            lambda row: number(row.get("tail_probability", row.get("tail_probability_median"))),
        ),
        ("weight k of the fleet", lambda row: number(row.get("prior_weight"))),
        ("own grid point", _own),
    ]
    return f"**Chosen on feedback** (first seed).\n\n{table(first, columns)}"


def _own(chosen: Mapping[str, Any]) -> str:
    own = chosen.get("entities_with_their_own")
    return "all" if own is None else f"{own} of {chosen['entities']}"


def _candidate(chosen: Mapping[str, Any]) -> str:
    if "condition_median" in chosen:
        return f"C {chosen['condition_median']:g} (median)"
    candidate = chosen["candidate"]
    if not candidate:
        return "–"
    if isinstance(candidate, list):
        *weights, smoothing = candidate
        return f"weights {', '.join(f'{w:g}' for w in weights)}; smoothing {smoothing:g}"
    return "–" if isinstance(candidate, str) else f"C {candidate}"


def _masked(curve: Sequence[Mapping[str, Any]] | None) -> str:
    if not curve:
        return ""
    return (
        "**Metrics that are missing while scoring**, drawn at random for each entity. Thresholds (event F1) are *kept*, those "
        "of all metrics, as until the next alignment; or aligned with what is there and *followed daily*, as from then on. "
        "Some entities, first seed.\n\n"
        + table(
            curve,
            [text("metrics missing", "dropped"), text("method", "method"), text("thresholds", "thresholds"), *CURVE],
        )
    )


def _history(curve: Sequence[Mapping[str, Any]] | None) -> str:
    if not curve:
        return ""
    return (
        f"**Newcomers**: {curve[0]['entities']} entities that the network was not trained with; their own numbers come "
        "from their last days before the feedback part, thresholds from the feedback part. First seed.\n\n"
        f"{table(curve, [('days of history', _days), *CURVE])}"
    )


def _days(point: Mapping[str, Any]) -> str:
    return f"all ({point['train_days']:.3g})" if point["days"] is None else f"{point['days']:g}"


def _time(found: Mapping[str, Any]) -> str:
    spent = [{"method": name, **found["time"][name]} for name in ORDER if name in found["time"]]
    columns = [text("method", "method"), *(_seconds(step) for step in ("train", "export", "score", "align"))]
    return (
        "**Time**: processor seconds of one thread, mean over seeds; scoring is of every test sample, with all candidates, "
        f"and aligning by event F1. What two rows share is in both.\n\n{table(spent, columns)}"
    )


def _seconds(step: str) -> Column:
    return f"{step}, s", lambda row: number(row[step]) if step in row else ""


def _transfer(result: Mapping[str, Any]) -> str:
    moves = result["transfer"]
    if not moves:
        return ""
    names = list(result["sets"])
    found = {(move["source"], move["target"]): move["vus_pr"] for move in moves}
    rows = [
        {"on": source} | {t: "own" if source == t else number(found.get((source, t))) for t in names}
        for source in names
    ]
    for method in (UNTOLD, SHAREAD):
        own = {t: {r["method"]: r["vus_pr"]["value"] for r in result["sets"][t]["ranking"]} for t in names}
        rows.append({"on": f"*trained on the target: {method}*"} | {t: number(own[t].get(method)) for t in names})
    columns = [text("trained on", "on"), *(text(name, name) for name in names)]
    return (
        "### A network from another set\n\nVUS-PR of `views` without feedback where only the entities' own numbers come "
        f"from the target's train part (first seed).\n\n{table(rows, columns)}"
    )
