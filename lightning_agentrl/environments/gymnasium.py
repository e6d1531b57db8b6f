"""Games with gymnasium's interface whose observations and actions are text, or named discrete actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.gymnasium_game import Game, GameEpisode, Reading, Rules, in_time
from lightning_agentrl.environments.scripted import write_demonstrations
from lightning_agentrl.tools.import_path import imported
from lightning_agentrl.types import Task

SEEDS: Mapping[str, int] = {"train": 0, "validation": 1_000_000, "demonstration": 2_000_000}
"""Where the seeds of each kind of game begin, so that no two kinds share one."""


@dataclass(frozen=True)
class GymnasiumGame(Environment):
    """Plays a game by what the policy says in each turn; the outcome is the sum of the game's rewards.

    Each task is one seed of the game: all trajectories of a group, and all branches, start from the same state and meet
    the same chance. The first observation ends the prompt, each further one answers a turn.
    """

    game: str
    """A registered id such as FrozenLake-v1 (needs gymnasium), or the import path of a class or function that makes an
    object with gymnasium's ``reset``, ``step``, ``render`` and ``close``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the game."""
    instructions: str = ""
    """What the policy is told before the first observation: the rules, and how to say an action."""
    actions: Sequence[str] = ()
    """Names of the actions 0, 1, 2 … of a discrete game, upper and lower case alike; none hands the text itself on."""
    action_tag: str | None = None
    """Tag within which the policy writes its action, such as action for <action>…</action>; null takes the whole turn.
    Thoughts in <think> tags never count."""
    show: Literal["observation", "render"] = "observation"
    """What the policy sees: the observation, or what render() returns (set render_mode: ansi in options), with square
    brackets in place of colours."""
    describe: str | None = None
    """Import path of a function (observation, info) -> text, for observations that are no text."""
    success_at: float | None = None
    """Sum of rewards from which on a game is a success; the outcome is then 1 or 0. Null makes the sum the outcome."""
    turn_rewards: bool = False
    """Whether the reward of a step is also the process reward of its turn."""
    invalid_action_penalty: float = 0.0
    """Penalty of a turn that names no action; at least 0. It changes nothing in the game."""
    fork: Literal["replay", "copy"] = "replay"
    """How branches get their state: the actions are played again, or the game is deep-copied."""
    train_games: int = 256
    """Number of seeds to train on."""
    validation_games: int = 32
    """Number of other seeds to validate on."""
    timeout: float = 30.0
    """Seconds for one reset or step; a game that needs longer counts as failed machinery, not as the policy's fault."""
    max_characters: int = 4000
    """Greatest length of what the policy sees in one turn; the rest is cut off."""
    player: str | None = None
    """Import path of a script (messages, rng) -> text that plays demonstrations for a cold start; see
    `lightning_agentrl.environments.scripted`."""
    demonstration_games: int = 400
    """Number of further seeds that the script plays."""
    demonstrations: Path | None = None
    """Demonstrations for the cold start of a tiny policy; written by the script, if one is named."""

    def __post_init__(self) -> None:
        if min(self.train_games, self.validation_games, self.demonstration_games) < 1:
            raise ValueError("train_games, validation_games and demonstration_games must be at least 1.")
        if self.invalid_action_penalty < 0 or min(self.timeout, self.max_characters) <= 0:
            raise ValueError("invalid_action_penalty must be at least 0, timeout and max_characters positive.")
        if len({name.casefold() for name in self.actions}) < len(self.actions):
            raise ValueError(f"The actions need names of their own, got {', '.join(self.actions)}.")
        if self.player is not None and self.demonstrations is None:
            raise ValueError("GymnasiumGame has a player, but no place for its demonstrations; set demonstrations.")

    @property
    def gives_turn_rewards(self) -> bool:
        """Where the game's rewards or the penalty go to turns."""
        return bool(self.turn_rewards or self.invalid_action_penalty)

    def prepare(self) -> None:
        """Start every game once, to know what it says first; have the script play, if there is one."""
        self.tasks("train")
        self.tasks("validation")
        if self.player is not None and self.demonstrations is not None:
            games = self._games("demonstration", self.demonstration_games)
            write_demonstrations(self, imported(self.player, "player"), games, self.demonstrations)

    def tasks(self, split: Split) -> Sequence[Task]:
        """One per seed."""
        return self._train if split == "train" else self._validation

    async def open(self, task: Task, seed: int) -> Episode:
        """Start the task's game. Its own seed decides, for the prompt shows how it starts.

        Raises:
            InfrastructureError: when the game cannot be started.
            ValueError: when it starts otherwise than it did for the prompt.
        """
        game, first = await in_time(lambda: self._started(task.meta["seed"]), self._rules)
        if self._message(first) != task.messages[-1]["content"]:
            await in_time(game.close, self._rules)
            raise ValueError(
                f"{self.game} started in two ways from seed {task.meta['seed']}; a group of rollouts must start alike. "
                f"Its reset(seed=…) has to settle everything that is left to chance."
            )
        return GameEpisode(game, first, self._reading, self._rules)

    @cached_property
    def _rules(self) -> Rules:
        return Rules(
            success_at=self.success_at,
            turn_rewards=self.turn_rewards,
            penalty=self.invalid_action_penalty,
            copies=self.fork == "copy",
            timeout=self.timeout,
        )

    @cached_property
    def _reading(self) -> Reading:
        describe = None if self.describe is None else imported(self.describe, "describe")
        return Reading(tuple(self.actions), self.action_tag, self.show == "render", describe, self.max_characters)

    @cached_property
    def _train(self) -> tuple[Task, ...]:
        return self._games("train", self.train_games)

    @cached_property
    def _validation(self) -> tuple[Task, ...]:
        return self._games("validation", self.validation_games)

    def _games(self, kind: str, count: int) -> tuple[Task, ...]:
        tasks = []
        for seed in range(SEEDS[kind], SEEDS[kind] + count):
            try:
                game, first = self._started(seed)
                game.close()
            except (ValueError, ImportError):
                raise
            except Exception as error:  # a game may raise anything
                raise ValueError(f"{self.game} does not start: {type(error).__name__}: {error}") from error
            message = {"role": "user", "content": self._message(first)}
            tasks.append(Task(f"{kind}-{seed}", (message,), meta={"seed": seed}))
        return tuple(tasks)

    def _message(self, first: str) -> str:
        return f"{self.instructions}\n\n{first}" if self.instructions else first

    def _started(self, seed: int) -> tuple[Game, str]:
        """A game at its start, and what it shows there."""
        game = self._made()
        observation, info = game.reset(seed=seed)
        return game, self._reading.text(game, observation, info)

    def _made(self) -> Game:
        if "." in self.game and not set(self.game) & set(":/-"):
            return cast(Game, imported(self.game, "game")(**self.options))
        try:
            import gymnasium
        except ImportError as error:
            raise ImportError(
                f"The registered game {self.game} needs gymnasium: pip install lightning-agentrl[gymnasium]"
            ) from error
        return cast(Game, gymnasium.make(self.game, **self.options))
