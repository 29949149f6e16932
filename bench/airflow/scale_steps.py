"""The steps of a build without Airflow, one per process.

``python -m bench.airflow.scale_steps STEP WORKER URI PARAMS ENTITIES`` runs one worker's part of a step and prints one
JSON line. Libraries are loaded before the clock starts, so that only the work for the fleet is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from bench.growth import fleet
from bench.growth.steps import measured
from fleetalign import steps
from fleetalign.align.reduce import reduce_plan  # noqa: F401 - loaded before the clock starts
from fleetalign.align.shard_task import align_and_store  # noqa: F401 - loaded before the clock starts
from fleetalign.config import Config, load
from fleetalign.release.build import build_release  # noqa: F401 - loaded before the clock starts
from fleetalign.release.comparison import promote_release  # noqa: F401 - loaded before the clock starts

HISTORY = fleet.History(days=7, step_seconds=300)
WORKERS = 2
"""Processes of align, each with its share of the shards: as many as the compared Airflow has slots."""


def main(arguments: Sequence[str]) -> None:
    step, worker, uri, params, entities = arguments
    config = load(params)
    print(measured(lambda: STEPS[step](config, uri, int(worker), int(entities))))


def _prepare(config: Config, uri: str, worker: int, entities: int) -> None:
    """Prepare an alignment: telemetry, feedback and a model."""
    fleet.write_store(uri, entities, HISTORY)
    steps.pretrain(config, uri, steps.plan(config, uri)["plan_id"])


def _plan(config: Config, uri: str, worker: int, entities: int) -> None:
    steps.plan(config, uri, reuse_model=True)


def _align(config: Config, uri: str, worker: int, entities: int) -> int:
    plan_id = _plan_id(config, uri)
    shards = steps.shards(config, uri, plan_id)
    for shard in shards[worker::WORKERS]:
        steps.align_shard(config, uri, plan_id, shard["index"])
    return len(shards)


def _reduce(config: Config, uri: str, worker: int, entities: int) -> None:
    steps.align_reduce(config, uri, _plan_id(config, uri))


def _release(config: Config, uri: str, worker: int, entities: int) -> str:
    release_id = steps.release(config, uri, _plan_id(config, uri))["release_id"]
    steps.promote(config, uri, release_id, channel=config.release.channel, by="bench", why="measured")
    return release_id


def _plan_id(config: Config, uri: str) -> str:
    """Nothing is new since the training, so its plan is the one that is aligned."""
    found = steps.latest(config, uri, "pretrain")
    assert found is not None
    return found


STEPS: dict[str, Callable[[Config, str, int, int], Any]] = {
    "prepare": _prepare,
    "plan": _plan,
    "align": _align,
    "reduce": _reduce,
    "release": _release,
}

if __name__ == "__main__":
    main(sys.argv[1:])
