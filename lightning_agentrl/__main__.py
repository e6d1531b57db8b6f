"""``python -m lightning_agentrl`` is ``agentrl``."""

import os
import sys


def main() -> None:
    """Run the command line."""
    # Read when torch is imported: the engine's choice of memory policy would otherwise be a warning on every start.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if os.getcwd() not in sys.path:  # with `python -m` it is; classes of one's own are named by their import path
        sys.path.append(os.getcwd())
    from lightning_agentrl.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
