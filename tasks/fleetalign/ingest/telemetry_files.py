"""Files of telemetry read as one table, for commands that score them without storing them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.contracts.tables import QUARANTINED_CELLS, QUARANTINED_ROWS
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.quarantine import count_rules, first_taken_out, taken_out
from fleetalign.validate.cells import check_cells
from fleetalign.validate.rows import check_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TelemetryFiles:
    """Files of telemetry, and how to read them."""

    path: str
    """A file, a folder or an ``s3://`` prefix."""
    mapping: Mapping
    interval: Interval | None = None
    """Rows outside are ignored; None keeps every row."""

    def read(self, config: Config) -> pa.Table:
        """Read the files as ingest does.

        Rows and cells that ingest would quarantine are left out and counted in a logged warning. Raises what ``ingest_files`` raises.
        """
        scratch = MemoryStore()
        result = ingest_files(scratch, config, self.path, self.mapping, self.interval)
        if left_out := taken_out(result.quarantined_rows, result.quarantined_cells):
            _log.warning("left out: %s; first: %s", left_out, result.first_quarantined)
        tables, cells = [], [QUARANTINED_CELLS.empty()]
        for partition in result.partitions:
            table, bad = check_cells(lake.read_partition(scratch, partition))
            checked = check_rows(
                table, partition.interval, partition.step_seconds, self.path, lake.read_phases(scratch, partition)
            )
            tables.append(table)
            cells += [bad, checked.conflicts]
        if left_out := taken_out({}, count_rules(pa.concat_tables(cells))):
            _log.warning(
                "left out: %s; first: %s",
                left_out,
                first_taken_out(QUARANTINED_ROWS.empty(), pa.concat_tables(cells), self.path),
            )
        return pa.concat_tables(tables, promote_options="default")
