"""The host side, ragged: tasks, turns and trajectories as plain dataclasses."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_agentrl.types.calls import ToolCall

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StopReason(enum.StrEnum):
    """Why a turn or a trajectory ended."""

    FINISHED = "finished"
    """The policy ended its turn; for a trajectory: the environment said that the episode is over."""
    TURN_LENGTH = "turn_length"
    """The turn hit the limit of tokens per turn."""
    CONTEXT = "context"
    """The next turn or observation would not fit into the context."""
    MAX_TURNS = "max_turns"
    """The trajectory used up its turns."""

    @property
    def truncated(self) -> bool:
        """Whether a limit cut the trajectory."""
        return self in {StopReason.TURN_LENGTH, StopReason.CONTEXT, StopReason.MAX_TURNS}


@dataclass(frozen=True)
class Task:
    """One prompt: chat messages, accepted answers, and whatever the environment wants to remember."""

    id: str
    messages: tuple[Mapping[str, str], ...]
    answers: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Segment:
    """A run of tokens with one author. Tokens are made once and never re-made."""

    token_ids: tuple[int, ...]
    sampled: bool
    logprobs: tuple[float, ...] | None = None
    """Log-prob of each token under the policy that sampled it (nats, at the rollout temperature)."""
    entropies: tuple[float, ...] | None = None
    """Entropy estimate from the engine's top-k, per token (nats)."""

    def __post_init__(self) -> None:
        for name in ("logprobs", "entropies"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.token_ids):
                raise ValueError(f"A segment of {len(self.token_ids)} tokens came with {len(values)} {name}.")

    def __len__(self) -> int:
        return len(self.token_ids)

    def text(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The tokens for people to read, control tokens visible."""
        return str(tokenizer.decode(list(self.token_ids)))


@dataclass(frozen=True)
class Timing:
    """When the parts of a turn were over, in seconds of one clock."""

    asked: float
    """The engine was asked for the action."""
    said: float
    """The action was there."""
    heard: float
    """The environment had answered."""


@dataclass(frozen=True)
class Turn:
    """What the policy said and what the environment answered."""

    action: Segment
    observation: Segment | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reward: float = 0.0
    penalty: float = 0.0
    state_key: int = 0
    """Hash of the observation this turn answers: turns with equal keys started from equal states (GiGPO's anchor)."""
    stop: StopReason = StopReason.FINISHED
    policy_version: int = 0
    cached_tokens: int = 0
    """How many of the tokens before the action came from the engine's prefix cache."""
    text: str = ""
    """The action as its format reads it, for verdicts and for people."""
    answer: str | None = None
    """The final answer, if the action holds one."""
    results: tuple[str, ...] = ()
    """The texts of the observation."""
    timing: Timing | None = field(default=None, compare=False)
    """None where nobody looked at the clock."""


@dataclass(frozen=True)
class Reward:
    """The verdict on one trajectory."""

    outcome: float
    """Raw outcome, before any shaping."""
    shaped: float
    """Outcome after format gates and length shaping, without the rewards of turns."""
    components: Mapping[str, float] = field(default_factory=dict)
    turns: tuple[float, ...] = ()
    """Process reward of each turn; empty means that no turn earned one."""


@dataclass(frozen=True)
class BranchPoint:
    """Where a branch leaves its parent: column is absolute, and the branch re-samples from there."""

    parent: int
    column: int
    score: float = 0.0


@dataclass(frozen=True)
class Trajectory:
    """One rollout: prompt, turns, verdict. Segments in order are exactly what the engine saw."""

    id: int
    group: int
    """Which prompt of the collection it belongs to."""
    sample: int
    """Its number within the group."""
    task: Task
    prompt: Segment
    turns: tuple[Turn, ...] = ()
    reward: Reward | None = None
    stop: StopReason = StopReason.FINISHED
    origin: BranchPoint | None = None
    judged: float | None = field(default=None, compare=False)
    """When the verdict was there, in seconds of the clock of the turns' timing."""

    @property
    def segments(self) -> Iterator[Segment]:
        """Prompt, then action and observation of each turn."""
        yield self.prompt
        for turn in self.turns:
            yield turn.action
            if turn.observation is not None:
                yield turn.observation

    @property
    def inherited(self) -> int:
        """Number of leading columns that are a parent's."""
        return self.origin.column if self.origin else 0

    @property
    def own_turns(self) -> Iterator[tuple[Turn, int]]:
        """Turns that are not wholly a parent's, each with the number of tokens that were sampled for it here."""
        end = len(self.prompt)
        for turn in self.turns:
            end += len(turn.action)
            if end > self.inherited:
                yield turn, min(end - self.inherited, len(turn.action))
            end += len(turn.observation) if turn.observation else 0

    @property
    def token_ids(self) -> list[int]:
        """All tokens in order."""
        return [token for segment in self.segments for token in segment.token_ids]

    @property
    def answer(self) -> str | None:
        """What the policy answered last; None without an answer, or where a limit cut the trajectory."""
        return self.turns[-1].answer if self.turns and not self.stop.truncated else None

    @property
    def outcome(self) -> float:
        """Raw outcome; 0 while there is no verdict."""
        return self.reward.outcome if self.reward else 0.0
