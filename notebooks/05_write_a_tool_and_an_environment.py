# %% [markdown]
# # 5 · Write a tool and an environment
#
# An old puzzle: of nine coins **one is heavier**, and there is a balance. Two weighings are enough. We write the balance as
# a tool, the puzzle as an environment, look at what happens when a policy calls the tool wrongly, and train an agent that
# learns to weigh twice.

# %%
# %matplotlib inline
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from IPython.display import Markdown
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl.callbacks.transcripts import markdown
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.environments.base import Environment
from lightning_agentrl.environments.scripted import write_demonstrations
from lightning_agentrl.environments.tools import ToolEpisode
from lightning_agentrl.figures.curves import curves
from lightning_agentrl.figures.groups import reward_groups
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.scalars import read_scalars
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import ParsedCall, Task
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
QUICK = bool(os.environ.get("AGENTRL_QUICK"))  # continuous integration sets it: fewer epochs, and less is claimed
COINS = "ABCDEFGHI"

# %% [markdown]
# ## The tool
#
# A typed, documented function becomes a tool with `@tool`. Which coin is heavy differs from rollout to rollout, so a
# function makes the balance for one coin.


# %%
def balance(heavy: str):
    """The tool of a rollout whose heavy coin this is."""

    @tool
    def weigh(left: str, right: str) -> str:
        """Compare two sets of coins on a balance.

        Args:
            left: Letters of the coins on the left, such as AB.
            right: Letters of the coins on the right.
        """
        if len(left) != len(right) or set(left) & set(right) or not set(left + right) <= set(COINS):
            raise ValueError("put equally many different coins on both sides")
        return "left is heavier" if heavy in left else "right is heavier" if heavy in right else "balanced"

    return weigh


balance("H").parameters

# %% [markdown]
# The schema is what the policy is told. A **toolbox** runs the calls that a policy writes, and it never raises for what
# the policy does wrong: each mistake has a name, and becomes a text that the policy reads.

# %%
box = Toolbox([balance("H")])
calls = [
    ParsedCall("weigh", {"left": "GH", "right": "AB"}),
    ParsedCall("weigh", {"left": "GH", "right": "A"}),
    ParsedCall("weigh", {"left": "GH"}),
    ParsedCall("weigh", {"left": "G", "right": 8}),
    ParsedCall("wiegh", {"left": "G", "right": "H"}),
]
results = [await box.run(call) for call in calls]
for call, result in zip(calls, results, strict=True):
    print(f"{call.name}({call.arguments})\n    {result.error_kind or 'ok'}: {result.text}")

assert [result.error_kind for result in results] == [
    None,
    "exception",
    "missing_argument",
    "wrong_type",
    "unknown_tool",
]

# %% [markdown]
# ## The environment
#
# Tasks, tools, and an episode for each rollout. `ToolEpisode` runs calls until the policy speaks without calling, and has
# the answer judged. The verdict is `ExactMatch`, without the usual normalisation: that would drop the answer "A", which it
# takes for an article.
#
# All rollouts of a group get the same task, and with it the same heavy coin. The prompt does not give it away, so there is
# nothing to know by heart, and training and validation may share their nine tasks.


# %%
@dataclass(frozen=True)
class NineCoins(Environment):
    """Find the heavy one of nine coins with a balance."""

    demonstrations: Path | None = None
    """Games for the cold start of a tiny policy."""
    reward: Rewards = field(default_factory=lambda: Rewards(ExactMatch(normalisation="none")))
    """The verdict."""

    @property
    def tools(self):
        """What the policy is told about; no rollout weighs with this one."""
        return (balance(COINS[0]),)

    def tasks(self, split):
        """One for each coin that may be heavy."""
        ask = "One of the coins A to I is heavier. Which?"
        return [Task(coin, ({"role": "user", "content": ask},), (coin,)) for coin in COINS]

    async def open(self, task, seed):
        """A fresh game."""
        return ToolEpisode(Toolbox([balance(task.answers[0])]), self.reward, group=(task.id, seed))


puzzle = NineCoins(Path("runs/data/nine_coins/demonstrations.jsonl"))

# %% [markdown]
# ## A cold start
#
# A tiny network cannot read, so a script shows it how to play: mostly in haste. In three games of five it guesses after one
# weighing, which is right one time in three. Whoever copies this greedily will do so always.


# %%
def play(messages, rng):
    """Weigh ABC against DEF, then guess, or weigh two of the three that are left."""
    heard = [message["content"] for message in messages if message["role"] == "tool"]
    if not heard:
        return ParsedCall("weigh", {"left": "ABC", "right": "DEF"})
    suspects = {"left is heavier": "ABC", "right is heavier": "DEF", "balanced": "GHI"}[heard[0]]
    if len(heard) == 1 and rng.random() < 0.6:
        return f"<answer> {rng.choice(suspects)} </answer>"
    if len(heard) == 1:
        return ParsedCall("weigh", {"left": suspects[0], "right": suspects[1]})
    found = suspects[["left is heavier", "right is heavier", "balanced"].index(heard[1])]
    return f"<answer> {found} </answer>"


write_demonstrations(puzzle, play, puzzle.tasks("train") * 60, puzzle.demonstrations)
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=256)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), puzzle.demonstrations, HermesFormat())

# %% [markdown]
# What has it learnt? First greedily, one game for each coin; then eight sampled rollouts each. A dot's area counts
# rollouts; grey groups agree with themselves.

# %%
with RolloutSession(policy, puzzle, temperature=0.0) as session:
    start = session.sample(puzzle.tasks("validation"), group_size=1).batch.rewards.mean().item()
with RolloutSession(policy, puzzle, seed=1) as session:
    first = session.sample(puzzle.tasks("train"), group_size=8)
hasty = sum(len(t.turns) == 2 for t in first.trajectories) / len(first.trajectories)
rewards = first.batch.rewards.tolist()
print(f"success: greedy {start:.2f}, sampled {sum(rewards) / len(rewards):.2f}; one weighing only: {hasty:.0%}")
reward_groups(first.batch.group_ids.tolist(), rewards, {n: f"heavy coin: {coin}" for n, coin in enumerate(COINS)})

# %% [markdown]
# ## Train it
#
# Nothing about training knows of coins. `policy`, `environment`, and the usual settings:

# %%
seed_everything(0, verbose=False)
shutil.rmtree("runs/coins", ignore_errors=True)  # of an earlier execution
module = AgentRLModule(
    policy=str(policy), optimizer=partial(torch.optim.AdamW, lr=5e-4, betas=(0.9, 0.99), weight_decay=0.0)
)
data = AgentRLDataModule(
    environment=puzzle,
    engine=TransformersEngine(),
    format=HermesFormat(),
    prompts_per_epoch=9,
    group_size=12,
    max_turns=4,
    max_turn_tokens=40,
    max_model_len=256,
)
trainer = Trainer(
    max_epochs=2 if QUICK else 12,
    check_val_every_n_epoch=2,
    gradient_clip_val=1.0,
    accelerator="cpu",
    logger=TensorBoardLogger("runs", name="coins", version=0),
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    log_every_n_steps=1,
)
trainer.fit(module, data)
scalars = read_scalars(Path(trainer.log_dir))
curves({"nine coins": scalars}, ["reward/mean", "val/success", "rollout/turns"])

# %%
played = data.last["validation"].trajectories
print("weighings per game:", dict(Counter(len(t.turns) - 1 for t in played)))
Markdown(markdown(next(t for t in played if t.task.id == "H"), module.tokenizer))

# %%
end = scalars["val/success"][-1][1]
weighings = [value - 1 for _, value in scalars["rollout/turns"]]  # the last turn is the answer
print(f"greedy success {start:.2f} → {end:.2f}; weighings of a sampled game {weighings[0]:.2f} → {weighings[-1]:.2f}")
if QUICK:
    print("two epochs prove nothing about learning")
else:
    assert start < 0.6 < 8 / 9 <= end, "two weighings find the coin"
    assert weighings[-1] > weighings[0] + 0.1

# %% [markdown]
# In a package of your own the class path is all the registration there is:
# `agentrl fit -c base --data.environment my_package.NineCoins`. For games with gymnasium's interface, classes written for
# TRL, MCP servers, or questions in a file, there is nothing to write at all:
# [tools](../tutorials/20_write_a_tool.md), [environments](../tutorials/21_write_an_environment.md).
