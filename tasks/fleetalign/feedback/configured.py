"""Feedback of the configured source: simulated operators, or ``source.feedback_path``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import Config
from fleetalign.contracts.tables import TIME
from fleetalign.feedback.files import read_feedback_file
from fleetalign.ingest.mapping import DEFAULT_KIND
from fleetalign.interval import Interval
from fleetalign.simulate.simulation import Simulation
from fleetalign.storage.statements import append_feedback
from fleetalign.storage.store import Store


def import_configured(store: Store, config: Config, interval: Interval) -> int:
    """Store the statements recorded before ``interval.end``; returns how many were new.

    Raises BadInput naming file, row and column; a copy of that file then lies in the quarantine.
    """
    source = config.source
    if source.type == "simulator":
        table = Simulation.from_settings(source.simulator).feedback()
    elif source.feedback_path:
        table = read_feedback_file(source.feedback_path, source.kind or DEFAULT_KIND, store=store)
    else:
        return 0
    return append_feedback(store, table.filter(pc.less(table["recorded_at"], pa.scalar(interval.end, TIME))))
