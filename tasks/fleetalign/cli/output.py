"""What the command line prints: results on stdout, progress and log lines on stderr."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetalign.progress import Bar

_log = logging.getLogger(__name__)
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""By the number of ``-v``."""


def show(options: argparse.Namespace, result: Mapping[str, Any], text: str | None = None) -> None:
    """Print ``result`` as ``--output`` asks, and write it to the file of ``--receipt``.

    ``text`` is the form for people; None: the JSON document itself. Log each of the result's ``warnings``.
    """
    document = as_text(result)
    if getattr(options, "receipt", None):
        path = Path(options.receipt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document + "\n")
    for warning in result.get("warnings", ()):
        _log.warning(warning)
    printed = document if text is None or options.output == "json" else text
    if printed:
        print(printed)


def as_text(result: Mapping[str, Any]) -> str:
    """Format a JSON document with sorted keys."""
    return json.dumps(result, indent=2, sort_keys=True)


def bar(options: argparse.Namespace) -> Bar:
    """Show progress on stderr, unless ``--quiet``."""
    return Bar(quiet=options.quiet)


@contextlib.contextmanager
def logging_to_stderr(options: argparse.Namespace) -> Iterator[None]:
    """Send the package's log records to stderr while a command runs.

    ``-v`` and ``-q`` choose the lowest level that is shown.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    # A library that configures logging in this process may have disabled the loggers that existed then.
    for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "fleetalign"]:
        logging.getLogger(name).disabled = False
    logger = logging.getLogger("fleetalign")
    before = logger.level, logger.propagate
    logger.setLevel(logging.ERROR if options.quiet else _LEVELS[min(options.verbose, len(_LEVELS) - 1)])
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"fleetalign: {record.levelname.lower()}: {super().format(record)}"
