"""Memory of the process that asks."""

from __future__ import annotations

import resource

import psutil


def rest() -> float:
    """MiB that are resident now."""
    return float(psutil.Process().memory_info().rss) / 2**20


def peak() -> float:
    """Most MiB that were ever resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
