"""The nouns of the framework: tasks, trajectories, the rollout batch, and what a credit assigner returns.

Notation used for tensor shapes, here and everywhere: N trajectories, T tokens, K turns, G trajectories per prompt,
P prompts, V vocabulary, A answer aliases, L probe tokens. Column *t* of every [N, T] tensor speaks of token *t*;
``logprobs[:, t]`` is ``log p(x_t | x_<t)`` and column 0 is 0.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Metrics = dict[str, Tensor]


class Signal(enum.Flag):
    """What credit, a loss or a brancher may ask for. ``Signal.X`` stands for the field ``x`` of the batch."""

    NONE = 0
    OLD_LOGPROBS = enum.auto()
    CURRENT_LOGPROBS = enum.auto()
    REF_LOGPROBS = enum.auto()
    ENTROPIES = enum.auto()
    ANSWER_LOGPROBS = enum.auto()
    SAMPLING_ENTROPIES = enum.auto()
    STATE_KEYS = enum.auto()
    TURN_REWARDS = enum.auto()
    PARENT_IDS = enum.auto()

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the `RolloutBatch` fields that this set of signals stands for."""
        return tuple(str(member.name).lower() for member in self)


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
    ERROR = "error"
    """The environment failed; the group is dropped."""

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
class ParsedCall:
    """A tool call as the policy wrote it. ``error`` says what was wrong; then name and arguments may be empty."""

    name: str
    arguments: Mapping[str, Any]
    error: str | None = None


@dataclass(frozen=True)
class Action:
    """What the policy said in one turn, read from its tokens."""

    text: str
    """The turn with control tokens such as ``<tool_call>`` visible, without the end-of-turn token."""
    calls: tuple[ParsedCall, ...] = ()


@dataclass(frozen=True)
class ToolCall:
    """What came of one call."""

    name: str
    arguments: Mapping[str, Any]
    ok: bool = True
    error_kind: str | None = None
    latency: float = 0.0
    """Seconds that the tool took."""


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

    @property
    def segments(self) -> Iterator[Segment]:
        """Prompt, then action and observation of each turn."""
        yield self.prompt
        for turn in self.turns:
            yield turn.action
            if turn.observation is not None:
                yield turn.observation

    @property
    def token_ids(self) -> list[int]:
        """All tokens in order."""
        return [token for segment in self.segments for token in segment.token_ids]

    @property
    def outcome(self) -> float:
        """Raw outcome; 0 while there is no verdict."""
        return self.reward.outcome if self.reward else 0.0


@dataclass(frozen=True)
class RolloutBatch:
    """Trajectories as right-padded tensors. ``None`` means *not computed*, never zero."""

    input_ids: Int[Tensor, "N T"]
    attention_mask: Bool[Tensor, "N T"]
    action_mask: Bool[Tensor, "N T"]
    """The policy sampled this token."""
    turn_ids: Int[Tensor, "N T"]
    """Turn of an action token, −1 elsewhere."""
    turn_mask: Bool[Tensor, "N K"]
    process_mask: Bool[Tensor, "N K"]
    """An observation followed the turn: False on the answer turn and on a cut turn."""
    turn_ends: Int[Tensor, "N K1"]
    """Column where the next action would start after 0…K turns, −1 where there is none."""
    sampling_logprobs: Float[Tensor, "N T"]
    outcomes: Float[Tensor, " N"]
    rewards: Float[Tensor, " N"]
    truncated: Bool[Tensor, " N"]
    group_ids: Int[Tensor, " N"]
    trajectory_ids: Int[Tensor, " N"]
    turn_rewards: Float[Tensor, "N K"] | None = None
    turn_penalties: Float[Tensor, "N K"] | None = None
    parent_ids: Int[Tensor, " N"] | None = None
    """Trajectory id of the parent, −1 for a root."""
    inherited: Int[Tensor, " N"] | None = None
    """Number of leading columns copied from the parent."""
    branch_score: Float[Tensor, " N"] | None = None
    state_keys: Int[Tensor, "N K"] | None = None
    probe_ids: Int[Tensor, "N A L"] | None = None
    probe_scored: Bool[Tensor, "N A L"] | None = None
    old_logprobs: Float[Tensor, "N T"] | None = None
    current_logprobs: Float[Tensor, "N T"] | None = None
    ref_logprobs: Float[Tensor, "N T"] | None = None
    entropies: Float[Tensor, "N T"] | None = None
    answer_logprobs: Float[Tensor, "N K1"] | None = None
    sampling_entropies: Float[Tensor, "N T"] | None = None
    advantages: Float[Tensor, "N T"] | None = None
    clip_scale: Float[Tensor, "N T"] | None = None
    loss_mask: Bool[Tensor, "N T"] | None = None
    components: Mapping[str, Float[Tensor, "N K"]] = field(default_factory=dict)
    loss_weights: Float[Tensor, "N T"] | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str, **options: Any) -> RolloutBatch:
        """The same batch on ``device``. Lightning calls this; a frozen dataclass without it is refused."""
        return self._map(lambda tensor: tensor.to(device, **options))

    def select(self, rows: Int[Tensor, " M"]) -> RolloutBatch:
        """Some of the rows, in the order given."""
        return self._map(lambda tensor: tensor[rows])

    def trim(self) -> RolloutBatch:
        """Without the columns that are padding in every row (at least one column stays)."""
        width = max(int(self.attention_mask.sum(1).max()), 1) if len(self) else 1
        cut = {
            f.name: value[:, :width]
            for f in fields(self)
            if f.name in TOKEN_FIELDS and (value := getattr(self, f.name)) is not None
        }
        return replace(self, **cut)

    def require(self, signals: Signal, asked_by: str) -> None:
        """Raise a ValueError that names exactly the signals which are missing, and who asked for them."""
        missing = [name for name in signals.field_names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"{asked_by} needs {', '.join(missing)}, which this batch does not hold. Declare the signal in "
                f"`requires` so that it is computed, or pass it to `lightning_agentrl.testing.rollouts`."
            )

    def _map(self, function: Any) -> RolloutBatch:
        changed: dict[str, Any] = {"components": {name: function(value) for name, value in self.components.items()}}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = function(value)
        return replace(self, **changed)


TOKEN_FIELDS = frozenset(
    "input_ids attention_mask action_mask turn_ids sampling_logprobs old_logprobs current_logprobs ref_logprobs "
    "entropies sampling_entropies advantages clip_scale loss_mask loss_weights".split()
)
"""The fields of `RolloutBatch` whose second dimension is T."""


@dataclass(frozen=True)
class Credit:
    """What an assigner says about a batch."""

    advantages: Float[Tensor, "N T"]
    """Zero off the action mask."""
    clip_scale: Float[Tensor, "N T"] | None = None
    """Factor on the clip range per token (A²TGPO); None leaves it alone."""
    loss_mask: Bool[Tensor, "N T"] | None = None
    """What is trained; None means every action token."""
    components: Mapping[str, Float[Tensor, "N K"]] = field(default_factory=dict)
    """Named parts of each turn's credit."""
    metrics: Metrics = field(default_factory=dict)


class Learner(Protocol):
    """The only upward arrow: what the DataModule may ask of the module."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's tokenizer."""

    @property
    def policy_config(self) -> PretrainedConfig:
        """The policy's architecture; an engine builds its own copy of the network from it."""

    @property
    def policy_dtype(self) -> torch.dtype:
        """What the policy computes in."""

    @property
    def temperature(self) -> float:
        """Temperature of rollouts, scores and entropies alike."""

    @property
    def policy_version(self) -> int:
        """Number of optimizer steps behind the weights."""

    @property
    def requires(self) -> Signal:
        """Union of what credit, loss and the rest need."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Hugging Face names and full tensors, both halves of tied embeddings; the same count on every rank."""

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        """The batch with the signals filled in, without gradients; at the rollout temperature unless told otherwise."""

    def assign(self, batch: RolloutBatch) -> RolloutBatch:
        """The batch with advantages, clip scale, loss mask and components filled in."""

    def weigh(self, steps: Sequence[Sequence[RolloutBatch]]) -> list[list[RolloutBatch]]:
        """The micro-batches with ``loss_weights``, which sum to 1 over one optimizer step across all ranks."""

    def record(self, metrics: Mapping[str, float]) -> None:
        """Hand over numbers about a collection; the module logs them."""


Weights = Iterable[tuple[str, Tensor]]
