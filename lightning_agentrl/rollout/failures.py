"""What went wrong behind environments during a collection, and what it cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning_agentrl.rollout.jobs import Job
from lightning_agentrl.tools.base import InfrastructureError

log = logging.getLogger(__name__)


@dataclass
class Failures:
    """Groups that were dropped whole, and episodes that could be rebuilt.

    A group is dropped whole because a part of it is no fair baseline: which of its rollouts failed may well depend on
    what they did.
    """

    dropped: list[int] = field(default_factory=list)
    """Numbers of the groups."""
    rebuilt: int = 0
    """Fresh episodes that took over from failed ones."""
    last: InfrastructureError | None = None

    def drop(self, job: Job, error: InfrastructureError) -> None:
        """A group is given up."""
        log.warning("Dropped all rollouts of task %r: %s", job.task.id, error)
        self.dropped.append(job.group)
        self.last = error

    def check(self, left: Sequence[object]) -> None:
        """See that something is left to go on with.

        Raises:
            RuntimeError: if every group was dropped: then it is not bad luck.
        """
        if not left:
            raise RuntimeError(
                f"The environment failed in every group ({len(self.dropped)} in all), also in fresh episodes. The last "
                f"error was: {self.last}. See to the service or package behind it, then resume."
            ) from self.last

    def take(self) -> dict[str, float]:
        """The counts since the last call."""
        counts = {"dropped_groups": float(len(self.dropped)), "rebuilt_episodes": float(self.rebuilt)}
        self.dropped, self.rebuilt, self.last = [], 0, None
        return counts
