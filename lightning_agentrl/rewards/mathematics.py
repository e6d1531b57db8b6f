"""Equality of mathematics, decided by math-verify in child processes that hostile answers cannot hang."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from lightning_agentrl.rewards import math_child
from lightning_agentrl.rewards.base import RewardFunction, Score
from lightning_agentrl.rewards.child_pool import ChildPool, CrashedError
from lightning_agentrl.rewards.child_process import OutOfTimeError
from lightning_agentrl.rewards.math_text import expression, latex
from lightning_agentrl.types import Trajectory

PATIENCE = 10.0
"""Seconds on the clock for each one of CPU time, before a child that got no CPU at all is given up."""


@dataclass(frozen=True)
class MathVerify(RewardFunction):
    r"""1 if the answer is mathematically equal to an accepted one, else 0: ½ = 0.5 = \frac{1}{2} = 50 %.

    The answer counts as a whole, or what is in its last ``\boxed{…}`` or in its only ``$…$``. One that takes too long
    or kills the child that compares it earns 0 and is counted in ``reward/part_math_timeout`` or ``…_math_crash``.
    """

    timeout: float = 3.0
    """Seconds of CPU time per answer. A busy machine changes no verdict."""
    workers: int = 2
    """Child processes, started when they are first needed."""
    memory_mb: int = 1024
    """Address space of a child in MiB; what it needs beyond that makes an answer wrong."""
    max_characters: int = 2000
    """Longer expressions are wrong without a look."""
    float_rounding: int = 6
    """Decimal places that must agree where an answer is a decimal fraction."""
    strict: bool = True
    """Whether names of variables matter, and tuples are no sets."""

    def __post_init__(self) -> None:
        if find_spec("math_verify") is None:
            raise ImportError("MathVerify needs math-verify: pip install lightning-agentrl[math]")
        if self.timeout <= 0 or min(self.workers, self.max_characters) < 1 or self.memory_mb < 256:
            raise ValueError(
                f"MathVerify needs a positive timeout, at least 1 worker and character, and memory_mb of at least 256, "
                f"got {self}."
            )

    @property
    def name(self) -> str:
        """What it is logged as."""
        return "math_verify"

    async def __call__(self, trajectory: Trajectory) -> Score:
        """1 or 0; no answer earns 0.

        Raises:
            InfrastructureError: when children keep dying whatever they are asked.
        """
        value, fate = await self._compare(trajectory.answer, trajectory.task.answers)
        return Score(value, {f"math_{name}": float(fate == name) for name in ("timeout", "crash", "error")})

    async def equal(self, answer: str | None, golden_answers: Sequence[str]) -> bool:
        """Whether an answer equals one of the accepted ones."""
        return bool((await self._compare(answer, golden_answers))[0])

    def close(self) -> None:
        """End the children; a later call starts them again."""
        self._pool.close()

    async def _compare(self, answer: str | None, golden_answers: Sequence[str]) -> tuple[float, str | None]:
        """1 or 0, and what became of the answer if it could not be compared."""
        said = expression(answer or "")
        golden = [expression(text) for text in golden_answers]
        if said and said in golden:
            return 1.0, None
        if not said or not golden or len(said) > self.max_characters:
            return 0.0, None
        try:
            reply = await asyncio.wrap_future(self._pool.submit(self._request(said, golden)))
        except OutOfTimeError:
            return 0.0, "timeout"
        except CrashedError:
            return 0.0, "crash"
        return float(reply["equal"]), "error" if reply["error"] else None

    def _request(self, said: str, golden: Sequence[str]) -> dict[str, object]:
        options = {"float_rounding": self.float_rounding, "strict": self.strict}
        return {"golden": [latex(text) for text in golden], "answer": latex(said), "options": options}

    @cached_property
    def _pool(self) -> ChildPool:
        return ChildPool(self._command, self.workers, PATIENCE * self.timeout, self._request("1", ["2"]))

    def _command(self) -> list[str]:
        # By its path, so that the child need not import this package (and torch with it); -P keeps our own folder off
        # its module path.
        script = str(Path(math_child.__file__))
        return [sys.executable, "-P", script, str(self.memory_mb << 20), str(self.timeout), str(os.getpid())]
