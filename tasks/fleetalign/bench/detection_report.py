"""Shows what ``detection.run`` measured, as Markdown tables; pictures are in ``bench.detection_plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetalign.bench.decisions import PUBLISHED
from fleetalign.bench.detection_plots import plots
from fleetalign.bench.methods import ORDER, RANDOM, SHAREAD, UNTOLD

__all__ = ["plots", "tables"]

Row = Sequence[str]


def tables(result: Mapping[str, Any]) -> str:
    """Per set: ranking, pages, points, what was chosen, curves and time; then transfer between sets."""
    sections = [_introduction(result)]
    for name, found in result["sets"].items():
        sections += [
            f"### {name}\n\n{_sizes(found)}",
            _ranking(found["ranking"]),
            _pages(found["decisions"]),
            _points(found["decisions"]),
            _chosen(found["decisions"]),
            _masked(found.get("masked_metrics")),
            _history(found.get("history")),
            _time(found),
        ]
    sections.append(_transfer(result))
    return "\n\n".join(section for section in sections if section) + "\n"


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
    header = ["method", "VUS-PR", "Δ VUS-PR", "AP", "Δ AP", "AP, pooled", "PA%K area (best thresholds)"]
    body = [
        [
            row["method"],
            _over(row["vus_pr"]),
            _difference(row["vus_pr"]),
            _over(row["average_precision"]),
            _difference(row["average_precision"]),
            _over(row["pooled_average_precision"]),
            _over(row["pa_k_area"]),
        ]
        for row in rows
    ]
    return (
        "**Ranking**, before any threshold; mean over entities with judged incidents. A random score gets the share of "
        f"anomalies in AP, and more than that in the others.\n\n{_table(header, body)}"
    )


def _pages(rows: Sequence[Mapping[str, Any]]) -> str:
    header = [
        "method", "aligner", "event F1", "Δ event F1", "shifted", "per entity", "precision", "recall",
        "false pages / entity-day", "Δ false pages", "median delay, min",
    ]  # fmt: skip
    body = []
    for row in rows:
        m = row["measures"]
        body.append(
            [
                row["method"],
                row["policy"],
                _over(m["event_f1"]),
                _difference(m["event_f1"]),
                _number(m["event_f1"]["shifted"]),
                _over(m["event_f1_mean_over_entities"]),
                _over(m["event_precision"]),
                _over(m["event_recall"]),
                _over(m["false_pages_per_entity_day"]),
                _difference(m["false_pages_per_entity_day"]),
                _over(m["median_delay_seconds"], 1 / 60),
            ]
        )
    return (
        "**Pages**: what somebody on call feels. *shifted*: event F1 of the same alarms at random times; the random score "
        f"through the same aligner has rows of its own. *per entity*: mean over entities.\n\n{_table(header, body)}"
    )


def _points(rows: Sequence[Mapping[str, Any]]) -> str:
    header = [
        "method", "aligner", "point F1", "Δ point F1", "PA-F1", "random's PA-F1", "Δ PA-F1", "affiliation F1", "Δ affiliation F1"
    ]  # fmt: skip
    chance = {r["policy"]: r["measures"]["point_adjusted_f1"]["value"] for r in rows if r["method"] == RANDOM}
    body = []
    for row in rows:
        m = row["measures"]
        body.append(
            [
                row["method"],
                row["policy"],
                _over(m["point_f1"]),
                _difference(m["point_f1"]),
                _over(m["point_adjusted_f1"]),
                _number(chance.get(row["policy"])),
                _difference(m["point_adjusted_f1"]),
                _over(m["affiliation_f1"]),
                _difference(m["affiliation_f1"]),
            ]
        )
    return (
        "**Points**. Point-adjusted F1 credits a whole incident for one alarm: read it beside the random score's through "
        f"the same aligner. Affiliation F1 of random alarms is near one half or above.\n\n{_table(header, body)}"
    )


def _chosen(rows: Sequence[Mapping[str, Any]]) -> str:
    header = [
        "method",
        "aligner",
        "candidate of the fleet",
        "tail probability",
        "weight k of the fleet",
        "own grid point",
    ]
    body = []
    for row in rows:
        first = row["chosen"][0]
        own = first.get("entities_with_their_own")
        body.append(
            [
                row["method"],
                row["policy"],
                _candidate(first),
                _number(first.get("tail_probability", first.get("tail_probability_median"))),
                _number(first.get("prior_weight")),
                "all" if own is None else f"{own} of {first['entities']}",
            ]
        )
    return f"**Chosen on feedback** (first seed).\n\n{_table(header, body)}"


def _candidate(chosen: Mapping[str, Any]) -> str:
    if "condition_median" in chosen:
        return f"C {chosen['condition_median']:g} (median)"
    candidate = chosen["candidate"]
    if isinstance(candidate, list):
        *weights, smoothing = candidate
        return f"weights {', '.join(f'{w:g}' for w in weights)}; smoothing {smoothing:g}"
    return "–" if isinstance(candidate, str) else f"C {candidate}"


def _masked(curve: Sequence[Mapping[str, Any]] | None) -> str:
    if not curve:
        return ""
    header = ["metrics missing", "method", "VUS-PR", "event F1", "false pages / entity-day"]
    body = [[str(point["dropped"]), point["method"], *_curve_cells(point)] for point in curve]
    return (
        "**Metrics that are missing while scoring**, drawn at random for each entity; thresholds (event F1) are those of all "
        f"metrics. Some entities, first seed.\n\n{_table(header, body)}"
    )


def _history(curve: Sequence[Mapping[str, Any]] | None) -> str:
    if not curve:
        return ""
    header = ["days of history", "VUS-PR", "event F1", "false pages / entity-day"]
    body = [[_days(point), *_curve_cells(point)] for point in curve]
    return (
        f"**Newcomers**: {curve[0]['entities']} entities that the network was not trained with; their own numbers come "
        "from their last days before the feedback part, thresholds from the feedback part. First seed.\n\n"
        f"{_table(header, body)}"
    )


def _days(point: Mapping[str, Any]) -> str:
    return f"all ({point['train_days']:.3g})" if point["days"] is None else f"{point['days']:g}"


def _curve_cells(point: Mapping[str, Any]) -> list[str]:
    return [_number(point[name]) for name in ("vus_pr", "event_f1", "false_pages_per_entity_day")]


def _time(found: Mapping[str, Any]) -> str:
    steps = ("train", "export", "score", "align")
    spent = found["time"]
    body = [
        [name, *(_number(spent[name][step]) if step in spent[name] else "" for step in steps)]
        for name in ORDER
        if name in spent
    ]
    header = ["method", *(f"{step}, s" for step in steps)]
    return (
        "**Time**: processor seconds of one thread, mean over seeds; scoring is of every test sample, with all candidates, "
        f"and aligning by event F1. What two rows share is in both.\n\n{_table(header, body)}"
    )


def _transfer(result: Mapping[str, Any]) -> str:
    moves = result["transfer"]
    if not moves:
        return ""
    names = list(result["sets"])
    found = {(move["source"], move["target"]): move["vus_pr"] for move in moves}
    body = []
    for source in names:
        body.append([source, *("own" if source == t else _number(found.get((source, t))) for t in names)])
    for method in (UNTOLD, SHAREAD):
        rows = {t: {r["method"]: r["vus_pr"]["value"] for r in result["sets"][t]["ranking"]} for t in names}
        body.append([f"*trained on the target: {method}*", *(_number(rows[t].get(method)) for t in names)])
    return (
        "### A network from another set\n\nVUS-PR of `views` without feedback where only the entities' own numbers come "
        f"from the target's train part (first seed).\n\n{_table(['trained on', *names], body)}"
    )


def _over(found: Mapping[str, Any], factor: float = 1.0) -> str:
    """Mean and, over several seeds, range."""
    if found["value"] is None:
        return "n/a"
    value, low, high = (factor * found[key] for key in ("value", "low", "high"))
    text = _number(value)
    return text if low == high else f"{text} ({_number(low)}–{_number(high)})"


def _difference(found: Mapping[str, Any]) -> str:
    apart = found.get("difference")
    if apart is None or apart["value"] is None:
        return "–"
    text = _signed(apart["value"])
    return text if apart["low"] is None else f"{text} [{_signed(apart['low'])}, {_signed(apart['high'])}]"


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    size = abs(value)
    if size == 0 or size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if size >= 1 else f"{value:.3f}" if size >= 0.01 else f"{value:.2g}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 1 else f"{value:+.3g}"


def _table(header: Row, rows: Sequence[Row]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells).replace("|z|", "\\|z\\|") + " |" for cells in lines)
