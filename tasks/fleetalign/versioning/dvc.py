"""Snapshots of a plan's partitions: bytes in a DVC remote, names in the data registry.

A snapshot outlives the lake: partitions may be rewritten or deleted, ``restore`` gives back what the plan saw
(contracts 5.5). Nothing here keeps a checkout: each call works in a temporary directory and removes it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from fleetalign.config import RegistryConfig, aws_endpoint, storage_settings
from fleetalign.contracts.hashing import readable_json
from fleetalign.contracts.plan import Plan
from fleetalign.contracts.receipts import SnapshotReceipt
from fleetalign.errors import ConfigError, Conflict, NotFound
from fleetalign.storage import layout
from fleetalign.storage.file import FileStore
from fleetalign.storage.store import Store
from fleetalign.versioning.command import Workplace
from fleetalign.versioning.registry import PLAN_FILE, Registry, tag_of

DATA = "telemetry"
REMOTE = "store"
PUBLISH_ATTEMPTS = 5
CONFLICT_DELAY_SECONDS = 0.5


def remote_url(store: Store) -> str:
    """Return where DVC keeps the bytes.

    Raises ConfigError for a store that no other process can open.
    """
    if isinstance(store, FileStore):
        return str(store.root / layout.DVC.rstrip("/"))
    if store.uri.startswith("s3://"):
        return f"{store.uri}/{layout.DVC.rstrip('/')}"
    raise ConfigError(f"{store.uri}: data versions need a file:// or s3:// store; set registry.enabled: false")


def snapshot(store: Store, plan: Plan, plan_id: str, config: RegistryConfig) -> SnapshotReceipt:
    """Put the partitions of ``plan`` under version control.

    One commit and one tag ``plan-<plan_id>`` per plan; a plan that has its tag is left alone. With
    ``registry.enabled: false`` nothing is done and the receipt is empty.
    Raises Corrupt or NotFound when the lake no longer has the plan's bytes, Conflict after several lost races,
    StoreError when git or DVC fails.
    """
    if not config.enabled:
        return SnapshotReceipt()
    remote = remote_url(store)
    for attempt in range(PUBLISH_ATTEMPTS):
        with tempfile.TemporaryDirectory(
            prefix="fleetalign-dvc-", dir=storage_settings().scratch_dir or None
        ) as scratch:
            registry = Registry.fetch(store, config, Workplace(Path(scratch)))
            revision = registry.revision(f"refs/tags/{tag_of(plan_id)}")
            if revision:
                return SnapshotReceipt(revision=revision, remote=remote)
            _add(registry.workplace, store, plan, plan_id, remote)
            revision = registry.commit(plan_id, max(entry.end for entry in plan.partitions))
            try:
                registry.publish(plan_id)
            except Conflict:
                time.sleep(CONFLICT_DELAY_SECONDS * (attempt + 1))
                continue
            return SnapshotReceipt(revision=revision, remote=remote)
    where = config.git_remote or f"{store.uri}/{layout.REGISTRY_BUNDLE}"
    raise Conflict(
        f"{where}: lost {PUBLISH_ATTEMPTS} races against other snapshots; run snapshot alone (pool of 1 slot)"
    )


def restore(store: Store, name: str, out_dir: str | Path, config: RegistryConfig | None = None) -> Path:
    """Fetch the telemetry of one snapshot into ``out_dir``, which then reads like a store.

    ``name`` is a plan id or a revision of the registry. Raises NotFound when the registry does not know it.
    """
    out = Path(out_dir).absolute()
    with tempfile.TemporaryDirectory(prefix="fleetalign-dvc-", dir=storage_settings().scratch_dir or None) as scratch:
        registry = Registry.fetch(store, config or RegistryConfig(), Workplace(Path(scratch)))
        revision = registry.revision(f"refs/tags/{tag_of(name)}") or registry.revision(name)
        if not revision:
            raise NotFound(
                f"{store.uri}: the data registry has no plan or revision {name!r}; see its tags plan-<plan_id>"
            )
        out.mkdir(parents=True, exist_ok=True)
        # The URL comes from the store at hand, so a moved or copied store can be restored from.
        settings = [f"url={remote_url(store)}", *(f"endpointurl={url}" for url in _endpoints(store))]
        registry.workplace.dvc(
            "get", "--quiet", "--rev", revision, "--out", str(out / DATA), "--remote", REMOTE,
            "--remote-config", *settings, "--", str(registry.workplace.checkout), DATA,
        )  # fmt: skip
    return out


def _add(workplace: Workplace, store: Store, plan: Plan, plan_id: str, remote: str) -> None:
    """Copy the plan's files into the checkout, hand them to DVC and upload them."""
    checkout = workplace.checkout
    for entry in plan.partitions:
        folder = checkout / entry.prefix
        folder.mkdir(parents=True)
        for file in (*entry.files, *filter(None, [entry.phases])):
            (folder / file.name).write_bytes(store.get_checked(entry.prefix + file.name, file.sha256))
        (folder / layout.PARTITION_FILE).write_bytes(readable_json(entry.as_document()))
    (checkout / PLAN_FILE).write_bytes(store.get(layout.plan(plan_id)))
    if not (checkout / ".dvc").is_dir():
        workplace.dvc("init", "--quiet")
    workplace.dvc("remote", "add", "--quiet", "--force", "--default", REMOTE, remote)
    for endpoint in _endpoints(store):
        # An endpoint belongs to this machine's network, so it stays out of the commit.
        workplace.dvc("remote", "modify", "--quiet", "--local", REMOTE, "endpointurl", endpoint)
    workplace.dvc("add", "--quiet", DATA)
    workplace.dvc("push", "--quiet")


def _endpoints(store: Store) -> tuple[str, ...]:
    endpoint = aws_endpoint()
    return (endpoint,) if endpoint and store.uri.startswith("s3://") else ()
