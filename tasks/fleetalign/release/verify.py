"""Checks that a release is whole, unaltered and usable on this machine."""

from __future__ import annotations

from fleetalign.errors import BadInput, Corrupt, NotFound
from fleetalign.scoring.scorer import Scorer
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.store import Store

MAX_DIFFERENCE = 1e-5
"""Relative; contracts 4.3."""


def verify(store: Store, release_id: str) -> list[str]:
    """Find everything wrong with a release, one sentence each; empty when it can be used.

    Checks the manifest's version and id, size and sha256 of every file, that the scorer loads it, and the golden
    vectors in this machine's onnxruntime. Raises NotFound only when there is no such release at all.
    """
    try:
        manifest = read_manifest(store, release_id)
    except (BadInput, Corrupt) as error:
        return [str(error)]
    problems = []
    for file in manifest.files:
        try:
            data = store.get_checked(file.key, file.sha256)
        except (NotFound, Corrupt) as error:
            problems.append(str(error))
        else:
            if len(data) != file.bytes:
                problems.append(f"{store.uri}/{file.key} has {len(data)} bytes, the manifest says {file.bytes}")
    if problems:
        return problems
    try:
        worst = Scorer(store, manifest).verify()
    except (BadInput, Corrupt) as error:
        return [str(error)]
    if not worst <= MAX_DIFFERENCE:
        problems.append(
            f"release {release_id}: the graph differs from its golden vectors by {worst:.3g} (relative), more than "
            f"{MAX_DIFFERENCE:g}; compare this machine's onnxruntime with the one in provenance.json"
        )
    return problems
