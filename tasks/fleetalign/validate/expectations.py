"""Great Expectations: the only module that touches it. Suites decide about whole partitions.

Importing Great Expectations takes seconds, so it happens once per process and only when a partition is validated.
Suites are the JSON files of ``expectations/``: no ids, each expectation with a severity and the reason it is there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fleetalign.errors import ConfigError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext

SUITES = ("telemetry", "entity_summary")
CRITICAL = "critical"
SITE = "data_docs"


@dataclass(frozen=True, slots=True)
class Finding:
    """Verdict of one expectation."""

    suite: str
    expectation: str
    column: str
    severity: str
    why: str
    success: bool
    unexpected_count: int | None
    element_count: int | None
    worst: str
    """The entity with the most extreme value; empty without one."""

    @property
    def holds_partition(self) -> bool:
        return not self.success and self.severity == CRITICAL

    def __str__(self) -> str:
        numbers = ""
        if self.unexpected_count is not None:
            numbers = f" ({self.unexpected_count} of {self.element_count})"
        worst = f", worst {self.worst}" if self.worst else ""
        return f"{self.expectation} {self.column}{numbers}{worst}: {self.why}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the suites found in one partition."""

    findings: tuple[Finding, ...]
    html: Mapping[str, bytes]
    """Data Docs, path below the site to content; empty unless they were requested."""


def load_suite(name: str) -> dict[str, Any]:
    """Return the JSON document of one suite, as it ships with the package.

    Raises ConfigError naming it.
    """
    try:
        path = resources.files("fleetalign.validate").joinpath("suites", f"{name}.json")
        suite: dict[str, Any] = json.loads(path.read_text())
        return suite
    except (OSError, ValueError) as error:
        raise ConfigError(f"expectations/{name}.json: {error}; reinstall the package or repair the file") from None


def judge(tables: Mapping[str, pa.Table], run_name: str, run_time: datetime, data_docs: bool) -> Judgement:
    """Run each suite over the table of its name.

    ``run_name`` (no slash) and ``run_time`` name the Data Docs.
    """
    from great_expectations.core.run_identifier import RunIdentifier

    context = _context()
    findings: list[Finding] = []
    try:
        for suite_name, table in tables.items():
            frame = table.to_pandas()
            keys = [c for c in ("entity_id", "timestamp") if c in frame.columns]
            result = context.validation_definitions.get(suite_name).run(
                batch_parameters={"dataframe": frame},
                run_id=RunIdentifier(run_name=run_name, run_time=run_time),
                result_format={"result_format": "SUMMARY", "unexpected_index_column_names": keys},
            )
            findings += _findings(suite_name, result, table)
        return Judgement(tuple(findings), _render(context) if data_docs else {})
    finally:
        # The context lives as long as the process; results of earlier partitions must not pile up in it.
        for key in context.validation_results_store.list_keys():
            context.validation_results_store.remove_key(key)  # type: ignore[no-untyped-call]  # untyped in GX


@cache
def _context() -> EphemeralDataContext:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("fleetalign")
    for name in SUITES:
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("partition")
        suite = context.suites.add(gx.ExpectationSuite(**load_suite(name)))
        context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    return context


def _findings(suite_name: str, result: ExpectationSuiteValidationResult, table: pa.Table) -> list[Finding]:
    findings = []
    document: dict[str, Any] = result.to_json_dict()  # type: ignore[no-untyped-call]  # untyped in GX
    for item in document["results"]:
        expectation = item["expectation_config"]
        kwargs = expectation["kwargs"]
        counts = item.get("result") or {}
        findings.append(
            Finding(
                suite=suite_name,
                expectation=expectation["type"],
                column=kwargs.get("column") or ", ".join(kwargs.get("column_list", ())),
                severity=expectation["severity"],
                why=expectation["meta"]["why"],
                success=bool(item["success"]),
                unexpected_count=counts.get("unexpected_count"),
                element_count=counts.get("element_count"),
                worst="" if item["success"] else _worst(table, kwargs),
            )
        )
    return findings


def _worst(table: pa.Table, kwargs: Mapping[str, Any]) -> str:
    """Name the entity whose value lies furthest beyond the bound, with the value."""
    column = kwargs.get("column", "")
    if column not in table.schema.names or column == "entity_id" or table.num_rows == 0:
        return ""
    order = "descending" if kwargs.get("max_value") is not None else "ascending"
    row = table.sort_by([(column, order), ("entity_id", "ascending")]).slice(0, 1).to_pylist()[0]
    return f"{row['entity_id']} ({row[column]:.4g})"


def _render(context: EphemeralDataContext) -> dict[str, bytes]:
    """Render Great Expectations' own site, without its 4 MB of pictures and fonts."""
    with tempfile.TemporaryDirectory(prefix="fleetalign-docs-") as folder:
        context.add_data_docs_site(
            SITE,
            {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,  # type: ignore[typeddict-unknown-key]  # read by the builder
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": folder},
            },
        )
        try:
            context.build_data_docs(site_names=[SITE])
        finally:
            context.delete_data_docs_site(SITE)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*.html"))}
