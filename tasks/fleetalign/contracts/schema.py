"""JSON documents: their versions, and their schemas, which ship in ``contracts/schemas/`` (``validate`` needs ``jsonschema``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from fleetalign.errors import BadInput

NAMES = ("manifest", "pointer", "partition", "plan", "promotion", "gate")


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one document."""
    return json.loads((resources.files("fleetalign.contracts") / "schemas" / f"{name}.schema.json").read_text("utf-8"))


def checked_major(document: Mapping[str, Any], known: str, where: str) -> None:
    """Raise BadInput for a document of another major version than ``known``. Unknown fields and minor versions are fine."""
    version = str(document.get("schema_version", "none"))
    major = known.partition(".")[0]
    if version.partition(".")[0] != major:
        raise BadInput(
            f"{where} has schema_version {version}; this fleetalign reads {major}.x; install a fleetalign that knows it"
        )


def validate(name: str, document: Mapping[str, Any]) -> None:
    """Raise BadInput naming the document and the path of its first error. Unknown fields are allowed."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(name).iter_errors(document))
    if error is not None:
        raise BadInput(f"{name} document, at {error.json_path}: {error.message[:300]}; correct its writer")


@cache
def _validator(name: str):
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    registry = Registry().with_resources([(f"{n}.schema.json", Resource.from_contents(schema(n))) for n in NAMES])
    return Draft202012Validator(schema(name), registry=registry)
