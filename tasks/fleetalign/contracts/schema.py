"""Versions and schemas of JSON documents.

The schemas ship in ``contracts/schemas/``; ``validate`` needs ``jsonschema``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from fleetalign.errors import BadInput

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

NAMES = ("manifest", "pointer", "partition", "plan", "promotion", "gate")


def schema(name: str) -> dict[str, Any]:
    """Read the JSON Schema (draft 2020-12) of one document."""
    text = (resources.files("fleetalign.contracts") / "schemas" / f"{name}.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def checked_major(document: Mapping[str, Any], supported: str, where: str, *older: str) -> None:
    """Check that a document has the major version of ``supported``, or an ``older`` one.

    Fields and minor versions may be newer.

    Raises:
        BadInput: The document has another major version.
    """
    version = str(document.get("schema_version", "none"))
    majors = (*older, supported.partition(".")[0])
    if version.partition(".")[0] not in majors:
        known = " and ".join(f"{major}.x" for major in majors)
        raise BadInput(
            f"{where} has schema_version {version}; this fleetalign reads {known}; install a fleetalign that knows it"
        )


def validate(name: str, document: Mapping[str, Any]) -> None:
    """Check a document against its schema; unknown fields are allowed.

    Raises:
        BadInput: The document breaks its schema; the message names the path.
    """
    from jsonschema.exceptions import best_match

    error = best_match(_validator(name).iter_errors(document))
    if error is not None:
        raise BadInput(f"{name} document, at {error.json_path}: {error.message[:300]}; correct its writer")


@cache
def _validator(name: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    registry = Registry().with_resources([(f"{n}.schema.json", Resource.from_contents(schema(n))) for n in NAMES])
    return Draft202012Validator(schema(name), registry=registry)
