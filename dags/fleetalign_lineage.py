"""Announce what a task made: in the event of its asset, and to OpenLineage where that is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset

from fleetalign.config import store_uri


def announce(outlet_events: Any, asset: Asset, result: Mapping[str, Any]) -> None:
    """Hand ``result`` to the event of ``asset``, and its data sets to OpenLineage."""
    outlet_events[asset].extra = result
    try:
        from airflow.providers.openlineage.api import emit_dataset_lineage, is_openlineage_active
    except ImportError:
        return
    if not is_openlineage_active():
        return
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    from fleetalign.versioning.lineage import lineage, name_in

    def named(folder: str, version: str | None) -> Dataset:
        namespace, name = name_in(store_uri(), folder)
        facets: dict[str, Any] = {}
        if version:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)
        return Dataset(namespace=namespace, name=name, facets=facets)

    found = lineage(asset.name, result)
    emit_dataset_lineage(
        inputs=[named(*each) for each in found.inputs.items()],
        outputs=[named(*each) for each in found.outputs.items()],
    )
