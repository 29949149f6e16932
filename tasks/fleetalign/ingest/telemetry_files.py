"""Files of telemetry read as one table, for commands that score them without storing them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pyarrow as pa

from fleetalign.config import Config
from fleetalign.ingest.mapping import Mapping
from fleetalign.ingest.run import ingest_files
from fleetalign.interval import Interval
from fleetalign.storage import lake
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.quarantine import taken_out

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
        tables = [lake.read_partition(scratch, partition) for partition in result.partitions]
        return pa.concat_tables(tables, promote_options="default")
