"""The data registry: a git repository with one commit and one tag per plan.

It is a remote (``registry.git_remote``) or a bundle in the store, replaced by compare-and-swap. Either way it is
fetched into a temporary checkout, changed there and published in one step, which fails when another writer was faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleetalign.config import RegistryConfig
from fleetalign.errors import Conflict, NotFound, StoreError
from fleetalign.interval import format_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store
from fleetalign.versioning.command import Workplace

BRANCH = "main"
PLAN_FILE = "plan.json"


def tag_of(plan_id: str) -> str:
    """Return the tag of a plan's commit."""
    return f"plan-{plan_id}"


@dataclass(slots=True)
class Registry:
    """One fetched state of the registry in ``workplace.checkout``."""

    store: Store
    config: RegistryConfig
    workplace: Workplace
    version: str | None = None
    """Version of the bundle that was fetched (None: there was none yet, or the registry is a git remote)."""

    @classmethod
    def fetch(cls, store: Store, config: RegistryConfig, workplace: Workplace) -> Registry:
        """Check out the newest state. Raises StoreError when the remote cannot be read."""
        workplace.checkout.mkdir(parents=True)
        registry = cls(store, config, workplace)
        workplace.git("init", "--quiet", "--initial-branch", BRANCH)
        source = config.git_remote or registry._download_bundle()
        if source:
            workplace.git("fetch", "--quiet", "--tags", source, "+refs/heads/*:refs/remotes/origin/*")
            if registry.revision(f"refs/remotes/origin/{BRANCH}"):
                workplace.git("reset", "--quiet", "--hard", f"refs/remotes/origin/{BRANCH}")
        return registry

    def _download_bundle(self) -> str:
        try:
            bundle = self.store.get_versioned(layout.REGISTRY_BUNDLE)
        except NotFound:
            return ""
        self.version = bundle.version
        path = self.workplace.scratch / "fetched.bundle"
        path.write_bytes(bundle.data)
        return str(path)

    def revision(self, name: str) -> str | None:
        """Return the commit of a tag, branch or revision; None when there is none."""
        found = self.workplace.git("rev-parse", "--revs-only", "--quiet", "--default", "", f"{name}^{{commit}}")
        return found or None

    def commit(self, plan_id: str, newest_end: datetime) -> str:
        """Commit and tag the checkout; the same inputs and parent give the same revision."""
        date = format_time(newest_end)
        identity = {"NAME": self.config.author, "EMAIL": self.config.email, "DATE": date}
        author = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in identity.items()}
        writer = Workplace(self.workplace.scratch, author)
        writer.git("add", "--all")
        writer.git("commit", "--quiet", "--allow-empty", "--message", f"data: plan {plan_id}")
        writer.git("tag", tag_of(plan_id))
        return writer.git("rev-parse", "HEAD")

    def publish(self, plan_id: str) -> None:
        """Publish the commit. Raises Conflict when another writer published first."""
        if self.config.git_remote:
            self._push(plan_id)
            return
        path = self.workplace.scratch / "published.bundle"
        self.workplace.git("bundle", "create", "--quiet", str(path), "HEAD", "--branches", "--tags")
        self.store.swap(layout.REGISTRY_BUNDLE, path.read_bytes(), self.version)

    def _push(self, plan_id: str) -> None:
        refs = (f"HEAD:refs/heads/{BRANCH}", f"refs/tags/{tag_of(plan_id)}")
        try:
            self.workplace.git("push", "--quiet", "--atomic", self.config.git_remote, *refs)
        except StoreError as error:
            if "rejected" in str(error) or "failed to push some refs" in str(error):
                raise Conflict(f"{self.config.git_remote}: another writer pushed first; read it again") from None
            raise
