"""What verbs that call a step say: its result as JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def tell(result: dict[str, Any]) -> int:
    """Print ``result``; its ``warnings`` also go to stderr."""
    for warning in result.get("warnings", ()):
        print(f"note: {warning}", file=sys.stderr)
    print(_text(result))
    return 0


def tell_receipt(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """Print ``result``, and write it to the file of ``--receipt``."""
    if getattr(options, "receipt", None):
        path = Path(options.receipt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(result) + "\n")
    return tell(result)


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2, sort_keys=True)
