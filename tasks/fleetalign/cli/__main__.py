"""``python -m fleetalign.cli``: the same as ``fleetalign``."""

from fleetalign.cli import run

if __name__ == "__main__":
    run()
