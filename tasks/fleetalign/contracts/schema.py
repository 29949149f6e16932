"""JSON documents against their schemas, which ship in ``contracts/schemas/`` (needs ``jsonschema``, extra ``train``)."""

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
