"""Runs ``git`` and ``python -m dvc`` as subprocesses without the user's own settings.

Subprocesses because DVC installs process-wide locks, signal handlers and a cache of its own: a worker stays clean.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetalign.config import storage_settings
from fleetalign.errors import ConfigError, StoreError

GIT_TIMEOUT_SECONDS = 300.0
DVC_TIMEOUT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Workplace:
    """A scratch directory with an environment for git and DVC, for one snapshot.

    ``scratch`` gets DVC's settings, site cache and repository cache; commands run in ``scratch/registry``.
    """

    scratch: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        """Where the registry is checked out."""
        return self.scratch / "registry"

    def git(self, *arguments: str) -> str:
        """Run git in the checkout; returns stdout.

        Raises StoreError with git's last lines, ConfigError without git.
        """
        return self._run(["git", *arguments], GIT_TIMEOUT_SECONDS)

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the checkout; returns stdout.

        Raises StoreError with DVC's last lines, ConfigError without DVC.
        """
        return self._run([sys.executable, "-m", "dvc", *arguments], DVC_TIMEOUT_SECONDS)

    def _run(self, command: Sequence[str], timeout_seconds: float) -> str:
        shown = " ".join(Path(part).name if part == sys.executable else part for part in command[:4])
        try:
            done = subprocess.run(
                command, cwd=self.checkout, env=self._environment(), capture_output=True, text=True,
                timeout=timeout_seconds, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConfigError(
                f"{shown}: {command[0]} is not installed; install it or set registry.enabled: false"
            ) from None
        except subprocess.TimeoutExpired:
            raise StoreError(f"{shown}: no end after {timeout_seconds:.0f} s; is the remote reachable?") from None
        if done.returncode == 0:
            return done.stdout.strip()
        if "No module named dvc" in done.stderr:
            raise ConfigError(
                "dvc is not installed; run: pip install 'fleetalign[dvc]', or set registry.enabled: false"
            )
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise StoreError(f"{shown} ended with {done.returncode}: {' | '.join(lines[-3:]) or 'no message'}")

    def _environment(self) -> dict[str, str]:
        checksums = storage_settings().checksums
        return {
            **os.environ,  # credentials, proxies and PATH must reach the tools
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(self.scratch / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(self.scratch / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(self.scratch / "dvc-site"),
            "TMPDIR": str(self.scratch),
            "AWS_REQUEST_CHECKSUM_CALCULATION": checksums,
            "AWS_RESPONSE_CHECKSUM_VALIDATION": checksums,
            **self.settings,
        }
