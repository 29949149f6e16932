"""The pre-training of a plan: a candidate per kind, one normalizer table, one receipt."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.fleet_table import FleetWriter
from fleetalign.contracts.hashing import ID_LENGTH, readable_json, sha256
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import PretrainReceipt
from fleetalign.contracts.tables import NORMALIZER
from fleetalign.model.candidate import Candidate, pretrain_kind
from fleetalign.progress import Progress
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def pretrain_plan(
    store: Store,
    plan: Plan,
    plan_id: str,
    config: Config,
    *,
    resume: bool = True,
    progress: Progress | None = None,
) -> PretrainReceipt:
    """Train every kind of ``plan``; returns the stored receipt.

    Raises what ``candidate.pretrain_kind`` raises.
    """
    candidates = {
        kind: pretrain_kind(store, plan, plan_id, kind, config, progress=progress, resume=resume)
        for kind in sorted(plan.kinds)
    }
    data = normalizer_of(candidates.values())
    normalizer_id = sha256(data)[:ID_LENGTH]
    store.put_immutable(layout.normalizer(normalizer_id), data)
    models = {kind: candidate.model_id for kind, candidate in candidates.items()}
    receipt = PretrainReceipt(plan_id=plan_id, models=models, normalizer_id=normalizer_id)
    store.put_immutable(layout.receipt(plan_id, "pretrain"), readable_json(receipt.as_document()))
    for kind in candidates:
        store.delete(layout.checkpoint(plan_id, kind))
    return receipt


def normalizer_of(candidates: Iterable[Candidate]) -> bytes:
    """Return the normalizer table of ``candidates`` (in the order of kinds) as Parquet."""
    numbers = [candidate.numbers for candidate in candidates]
    defaults = pa.concat_tables([n.default_rows() for n in numbers], promote_options="default")
    writer = FleetWriter(NORMALIZER, defaults)
    for rows in itertools.chain.from_iterable(n.tables() for n in numbers):
        writer.add(rows)
    return writer.finish()
