"""``python -m fleetalign.cli``: the same as ``fleetalign``."""

import sys

from fleetalign.cli import main

if __name__ == "__main__":
    sys.exit(main())
