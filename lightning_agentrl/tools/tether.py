"""Runs a command that ends with whoever started it: ``python tether.py PARENT COMMAND…``. A script of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Have the kernel kill this process with its parent, then become the command.

    Closing its standard input asks a server to end; one that hangs does not hear that. Only Linux can promise more:
    the signal is sent when the *thread* ends that started the process, also if a crash or a SIGKILL ended it.
    """
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("the process that started this one is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]!r}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
