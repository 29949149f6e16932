"""The pages of a table of scores, found by the id that was shown to a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.pages import Page, find_pages
from fleetalign.contracts.tables import SCORES, from_parquet
from fleetalign.errors import BadInput, UsageError


def read_pages(path: str, merge_steps: int) -> list[Page]:
    """Read the pages of a file that ``fleetalign score`` wrote.

    Raises UsageError or BadInput naming it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: not readable ({error.strerror}); name a table that `fleetalign score` wrote"
        ) from None
    return pages_of(SCORES.conform(from_parquet(data, path)), merge_steps, path)


def pages_of(scores: pa.Table, merge_steps: int, where: str) -> list[Page]:
    """Return the pages of ``scores``, sorted; runs closer than ``merge_steps`` are one page."""
    steps = {
        kind: _step_seconds(scores.filter(pc.equal(scores["kind"], kind)), f"{where}: kind {kind}")
        for kind in pc.unique(scores.filter(scores["alarm"])["kind"]).to_pylist()
    }
    return find_pages(scores, steps, merge_steps)


def find_page(pages: list[Page], page_id: str, where: str) -> Page:
    """Return the page with that id. Raises BadInput naming the pages of the same entity."""
    for page in pages:
        if page.page_id == page_id:
            return page
    prefix = page_id.rpartition("/")[0] + "/"
    near = [p.page_id for p in pages if p.page_id.startswith(prefix)]
    raise BadInput(
        f"{where}: no page {page_id!r}; "
        + (
            f"that entity has {', '.join(near[:5])}"
            if near
            else f"`feedback pages --scores {where}` lists all {len(pages)}"
        )
    )


def _step_seconds(scores: pa.Table, where: str) -> int:
    """Return the sampling step: the smallest distance of two rows of one entity."""
    times = scores["timestamp"].cast(pa.int64()).to_numpy()
    entities = scores["entity_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    gaps = np.diff(times)[np.diff(entities) == 0]
    gaps = gaps[gaps > 0]
    if len(gaps) == 0:
        raise BadInput(f"{where}: no entity has two samples, so a page has no length; score a longer range")
    return int(gaps.min()) // 1_000_000
