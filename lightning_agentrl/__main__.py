"""``python -m lightning_agentrl`` is ``agentrl``."""

import sys


def main() -> None:
    """Run the command line."""
    from lightning_agentrl.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
