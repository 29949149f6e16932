"""Proposes how the names of a matrix' columns are cut into entity and metric."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleetalign.ingest.matrix import DEFAULT_METRIC

LEAST_COLUMNS = 4
DELIMITERS = ("|", "::", "/", ":", ";", " ", ".", "_", "-")
LABELS = re.compile(r"^(?P<name>[^{}]*)\{(?P<labels>[^{}]*)\}$")
LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*=\s*"?([^",]*)"?\s*(?:,|$)')
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|:\d{2,5}$|^i-[0-9a-f]{6,}$|^[a-z0-9-]+(\.[a-z0-9-]+){2,}$")
"""An address, a port, an instance, or a domain."""
NUMBERED_HOST = re.compile(r"^[a-zA-Z-]+\d+[a-z]?$")
_MEASURED = """
avg average mean median min minimum max maximum count counts sum total std stddev stdev skewness kurtosis
rate p50 p75 p90 p95 p99 p999 cpu mem memory disk net network load latency errors error requests request
usage util utilization cpuutilization bytes packets iops rps qps duration in out read write rx tx used free
idle user system iowait connections swap value temperature power pressure percent saturation throughput
"""
METRIC_WORDS = frozenset(_MEASURED.split())
_NUMBERED = """
feature feat col column metric value var variable x y z f m s v c t sensor channel ch dim attr attribute
field series signal unnamed core eth sd nvme partition phase
"""
NUMBERED = frozenset(_NUMBERED.split())
"""Words that number the metrics of one entity as often as entities: nothing is proposed from them."""
ENTITY_LABELS = (
    "instance",
    "host",
    "hostname",
    "pod",
    "node",
    "server",
    "machine",
    "instanceid",
    "container",
    "service",
)


@dataclass(frozen=True, slots=True)
class ProposedForm:
    """The fields of a mapping that cut the names of columns, and what is doubtful."""

    template: str
    entity: str
    metric: str
    doubt: str


def propose_form(names: Sequence[str]) -> ProposedForm | None:
    """Propose a form that all of ``names`` have.

    None: they look like metrics of one entity. Names need at least one part that looks like hosts; where several parts
    vary, those whose values are words of metrics are the metric.
    """
    if len(names) < LEAST_COLUMNS:
        return None
    labelled = [LABELS.match(name) for name in names]
    if all(labelled):
        return _of_labels([found for found in labelled if found])
    forms = [form for delimiter in DELIMITERS if (form := _of_parts(names, delimiter)) is not None]
    whole = _whole(names)
    # A metric among the parts says more than one part that looks like hosts.
    return next((form for form in forms if "{" in form.metric), whole or next(iter(forms), None))


def suspected_form(names: Sequence[str]) -> ProposedForm | None:
    """Return a form that ``names`` may have, though nothing in them looks like hosts.

    They are then every pair of three or more words and two or more metrics, such as ``carts_cpu`` and ``orders_cpu``.
    """
    for delimiter in DELIMITERS:
        rows = [tuple(name.split(delimiter)) for name in names]
        if {len(row) for row in rows} != {2}:
            continue
        for entity, metric in ((0, 1), (1, 0)):
            entities, metrics = {row[entity] for row in rows}, {row[metric] for row in rows}
            if len(entities) < 3 or len(metrics) < 2 or len(set(rows)) < len(entities) * len(metrics):
                continue
            if _are_metrics(list(metrics)) and not any(_are_metrics([name]) for name in entities):
                fields = ("{entity}", "{metric}") if entity == 0 else ("{metric}", "{entity}")
                return ProposedForm(delimiter.join(fields), "{entity}", "{metric}", "")
    return None


def _of_labels(found: Sequence[re.Match[str]]) -> ProposedForm | None:
    """Cut names such as ``cpu{instance="a", mode="idle"}``."""
    keys = [tuple(key for key, _ in LABEL.findall(match["labels"])) for match in found]
    if len(set(keys)) != 1 or not keys[0] or len(set(keys[0])) < len(keys[0]):
        return None
    values = list(zip(*([v for _, v in LABEL.findall(match["labels"])] for match in found), strict=True))
    fields = [re.sub(r"\W", "_", key) for key in keys[0]]
    texts = found[0]["labels"]
    template = "{{"
    at = 0
    for part, field in zip(LABEL.finditer(texts), fields, strict=True):
        template += _escaped(texts[at : part.start(2)]) + "{" + field + "}"
        at = part.end(2)
    template += _escaped(texts[at:]) + "}}"
    varying = [i for i, column in enumerate(values) if len(set(column)) > 1] or [0]
    usual = [i for i in varying if keys[0][i].lower() in ENTITY_LABELS]
    entity = [i for i in varying if i in usual] or [i for i in varying if _are_hosts(values[i])] or varying[:1]
    rest = [i for i in varying if i not in entity]
    names = {match["name"] for match in found}
    bare = next(iter(names)).strip()
    head = "{metric}" if len(names) > 1 else _escaped(bare)
    metric = ["{metric}" if len(names) > 1 else bare or DEFAULT_METRIC, *("{" + fields[i] + "}" for i in rest)]
    return ProposedForm(
        head + template,
        "/".join("{" + fields[i] + "}" for i in entity),
        "_".join(metric),
        "" if usual else f"{keys[0][entity[0]]!r} is taken for the entity",
    )


def _of_parts(names: Sequence[str], delimiter: str) -> ProposedForm | None:
    """Cut names into equally many parts, of which some are hosts and others words of metrics."""
    rows = [name.split(delimiter) for name in names]
    if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2 or any(not part for row in rows for part in row):
        return None
    columns, heads = [], []
    for column in zip(*rows, strict=True):
        keys = {head for value in column if (head := value.partition("=")[0] + "=") != value + "="}
        # InstanceId=i-0a1b: the key is text, its value varies.
        keyed = len(keys) == 1 and all("=" in value[:-1] for value in column)
        heads.append(keys.pop() if keyed else "")
        columns.append(tuple(value[len(heads[-1]) :] for value in column))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    named = [i for i in varying if heads[i][:-1].lower() in ENTITY_LABELS]
    metric = [i for i in varying if i not in named and _are_metrics(columns[i])]
    entity = [i for i in varying if i not in metric]
    hosts = [i for i in entity if i in named or _are_hosts(columns[i])]
    if not hosts:
        return None
    fields = {i: f"part{i + 1}" for i in varying}
    if len(entity) == 1:
        fields[entity[0]] = "entity"
    if len(metric) == 1:
        fields[metric[0]] = "metric"
    template = delimiter.join(
        _escaped(heads[i]) + ("{" + fields[i] + "}" if i in fields else _escaped(columns[i][0]))
        for i in range(len(columns))
    )
    unsure = [i for i in entity if i not in hosts]
    doubt = ""
    if unsure:
        shown = ", ".join(sorted(set(columns[unsure[0]]))[:3])
        doubt = f"{fields[unsure[0]]} ({shown}) is taken as part of the entity, it may belong to the metric"
    return ProposedForm(
        template,
        "/".join("{" + fields[i] + "}" for i in entity),
        "_".join("{" + fields[i] + "}" for i in metric) or DEFAULT_METRIC,
        doubt,
    )


def _whole(names: Sequence[str]) -> ProposedForm | None:
    """Take each whole name for an entity where all look like hosts of one stem, such as web-1."""
    stems = {re.sub(r"\d+", "#", name) for name in names}
    stem = re.sub(r"[^a-z]", "", next(iter(stems)).lower())
    alike = len(stems) == 1 and "#" in next(iter(stems)) and len(stem) > 1 and stem not in NUMBERED
    if (alike and not _are_metrics(names)) or all(_is_address(name) for name in names):
        return ProposedForm("{entity}", "{entity}", DEFAULT_METRIC, "")
    return None


def _is_address(name: str) -> bool:
    return bool(ADDRESS.search(name)) and not _are_metrics([name])


def _are_hosts(values: Sequence[str]) -> bool:
    distinct = set(values)
    return (
        len(distinct) > 1
        and all(ADDRESS.search(value) or NUMBERED_HOST.search(value) for value in distinct)
        and not _are_metrics(values)
    )


def _are_metrics(values: Sequence[str]) -> bool:
    """Tell whether most of ``values`` hold a word of metrics."""
    distinct = set(values)
    return 2 * sum(any(word in METRIC_WORDS for word in _words(value)) for value in distinct) > len(distinct)


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, as of DiskReadBytes or load15_avg.

    Each also stands without the digits behind it.
    """
    whole = re.split(r"[^a-z0-9]+", name.lower())
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return [*whole, *(word.rstrip("0123456789") for word in whole), *map(str.lower, parts)]


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
