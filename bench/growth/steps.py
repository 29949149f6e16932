"""The steps of a build, one per process.

``python -m bench.growth.steps STEP WORKER URI ENTITIES NETWORK SOURCE`` runs one worker's part of a step and prints one
JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.growth import fleet
from bench.speed.memory import highest_resident_bytes
from fleetalign.config import Config

WORKERS = 2
"""Processes of align and score, each with its share of the shards and of the entities."""
PARALLEL = ("align", "score")
SCORED_AT_ONCE = 500
"""Entities of one scorer call; a consumer holds no more telemetry than that."""


def main(arguments: Sequence[str]) -> None:
    step, worker, uri, entities, network, source = arguments
    config = fleet.settings(network, Path(source))
    mine = [int(worker)] if step in PARALLEL else []
    print(measured(lambda: _STEPS[step](config, uri, int(entities), *mine)))


def measured(work: Callable[[], Any]) -> str:
    """One JSON line: wall and CPU seconds of ``work``, the most that this process had resident, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    found = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return json.dumps(found | {"peak_bytes": highest_resident_bytes(), "result": result})


def _ingest(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    for day in fleet.days():
        steps.ingest(config, uri, day)


def _validate(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    for day in fleet.days():
        steps.validate(config, uri, day)


def _write(config: Config, uri: str, entities: int) -> None:
    fleet.write_store(uri, entities)


def _plan(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.plan(config, uri)


def plan_id_of(uri: str) -> str:
    """Return the id of the store's only plan."""
    from fleetalign.storage import layout
    from fleetalign.storage.connect import open_store

    keys = [info.key for info in open_store(uri).list(layout.PLANS) if info.key.count("/") == 1]
    return keys[0].removeprefix(layout.PLANS).removesuffix(".json")


def _pretrain(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.pretrain(config, uri, plan_id_of(uri))


def _align(config: Config, uri: str, entities: int, worker: int) -> None:
    from fleetalign import steps

    plan_id = plan_id_of(uri)
    for shard in steps.shards(config, uri, plan_id)[worker::WORKERS]:
        steps.align_shard(config, uri, plan_id, shard["index"])


def _reduce(config: Config, uri: str, entities: int) -> None:
    from fleetalign import steps

    steps.align_reduce(config, uri, plan_id_of(uri))


def _release(config: Config, uri: str, entities: int) -> dict[str, Any]:
    from fleetalign import steps

    found = steps.release(config, uri, plan_id_of(uri))
    return {"release_id": found["release_id"], "coverage": found["coverage"]}


def _score(config: Config, uri: str, entities: int, worker: int) -> int:
    """Every entity's last day, as a consumer scores it, some entities at a time; returns how many samples got a score."""
    import pyarrow as pa

    from fleetalign import steps
    from fleetalign.plan import receipts
    from fleetalign.scoring.scorer import Scorer
    from fleetalign.storage import lake
    from fleetalign.storage.connect import open_store

    store = open_store(uri)
    plan_id = steps.latest(config, uri, "release")
    scorer = Scorer.open(store, release=receipts.read_release(store, plan_id).release_id)
    partitions = lake.list_partitions(store, "validated")[-2:]
    scored = 0
    for first in range(worker * SCORED_AT_ONCE, entities, WORKERS * SCORED_AT_ONCE):
        last = min(first + SCORED_AT_ONCE, entities) - 1
        ids = (fleet.entity_id(first), fleet.entity_id(last))
        telemetry = pa.concat_tables(p for day in partitions for p in lake.read_parts(store, day, None, ids))
        scores = scorer.score(telemetry, start=partitions[-1].interval.start)
        scored += len(scores["score"]) - scores["score"].null_count
    return scored


_STEPS: dict[str, Callable[..., Any]] = {
    "ingest": _ingest,
    "validate": _validate,
    "write": _write,
    "plan": _plan,
    "pretrain": _pretrain,
    "align": _align,
    "reduce": _reduce,
    "release": _release,
    "score": _score,
}

if __name__ == "__main__":
    main(sys.argv[1:])
