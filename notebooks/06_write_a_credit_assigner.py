# %% [markdown]
# # 6 · Write a credit assigner
#
# In [notebook 1](01_first_rollout.ipynb) one token of a whole rollout was shaded: the policy was sure of everything but
# that one choice. In [notebook 3](03_branching.ipynb) forks showed that exactly this turn decided the game. That is an
# idea for an assigner: **give credit where there was a choice.** We write it, test it with a pencil, measure it against
# the truth, and train with it.

# %%
# %matplotlib inline
import os
import shutil
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import correlation, mean

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl import GRPO, IGPO, Credit, CreditAssigner, RolloutBatch, Signal
from lightning_agentrl.branching.entropy import starts
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.figures.canvas import SERIES, canvas
from lightning_agentrl.figures.curves import curves
from lightning_agentrl.figures.turn_table import turn_table
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.opinions import ask
from lightning_agentrl.inspector.scalars import read_scalars
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.ops import per_token, standardize, turn_sum
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.testing import rollouts
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.types import BranchPoint
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
QUICK = bool(os.environ.get("AGENTRL_QUICK"))  # continuous integration sets it: fewer forks and epochs

# %% [markdown]
# ## The idea, in formulas
#
# Let $A_i$ be the advantage of rollout $i$ in its group and $K_i$ its number of turns. How much choice there was in turn
# $k$ is the entropy of its tokens, added up:
#
# $$h_{ik} = \sum_{t \in \text{turn } k} H\big(\pi(\cdot \mid x_{<t})\big), \qquad
# w_{ik} = \frac{1 - \lambda}{K_i} + \lambda \, \frac{h_{ik}}{\sum_l h_{il}}, \qquad
# A_{ik} = K_i \, w_{ik} \, A_i$$
#
# The weights sum to one, so a rollout's turns have $A_i$ on average, whatever $\lambda$; and $\lambda = 0$ is GRPO.
#
# ## The file
#
# A frozen dataclass, a pure function of tensors. It *declares* that it needs entropies. Shapes: N rollouts, T tokens, K
# turns.


# %%
@dataclass(frozen=True)
class ByChoice(CreditAssigner):
    """The outcome, shared out among the turns of a rollout by how much choice there was in each."""

    mix: float = 1.0
    """λ in [0, 1]; 0 gives every turn the same."""

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ValueError(f"ByChoice.mix must lie in [0, 1], got {self.mix}.")

    @property
    def requires(self) -> Signal:
        """Entropies of the policy at collection."""
        return Signal.ENTROPIES

    def __call__(self, batch: RolloutBatch, *, all_reduce=None) -> Credit:
        """Credit by turn."""
        advantage = standardize(batch.rewards, batch.group_ids, ddof=1, scale=False)  # [N]
        count = batch.turn_mask.sum(1, keepdim=True)  # [N, 1]
        choice = turn_sum(batch.entropies, batch.turn_ids, batch.turn_mask.shape[1])  # [N, K]
        total = choice.sum(1, keepdim=True)
        even = batch.turn_mask / count.clamp(min=1)
        share = torch.where(total > 0, choice / total.clamp(min=1e-12), even)  # never any choice: all turns alike
        weights = (1 - self.mix) * even + self.mix * share
        turns = advantage[:, None] * count * weights  # [N, K]
        return Credit(per_token(turns, batch.turn_ids), components={"choice": turns})


# %% [markdown]
# ## The pencil test
#
# `rollouts` makes a batch from plain lists, laid out by the code that training uses. Two siblings with rewards 1 and 0,
# so $A = \pm\tfrac12$. The first has three turns with entropies $0 + 0$, $0.6$ and $0.2$: shares $0, \tfrac34, \tfrac14$,
# times $K = 3$, times $\tfrac12$.

# %%
pencil = rollouts([[2, 1, 1], [1]], rewards=[1, 0], entropies=[[0.0, 0.0, 0.6, 0.2], [0.3]])
credit = ByChoice()(pencil)
print(credit.components["choice"])
torch.testing.assert_close(credit.components["choice"], torch.tensor([[0.0, 1.125, 0.375], [-0.5, 0.0, 0.0]]))

# %% [markdown]
# And what must hold for any batch: the promises that the repository's contract suite checks for every assigner, and the
# two of our own.

# %%
torch.manual_seed(0)
sizes = [[int(size) for size in torch.randint(1, 5, (int(turns),))] for turns in torch.randint(1, 5, (12,))]
batch = rollouts(
    sizes,
    rewards=torch.rand(12).tolist(),
    groups=[number // 4 for number in range(12)],
    entropies=[torch.rand(sum(row)).tolist() for row in sizes],
)
ours, flat = ByChoice()(batch), GRPO(normalize_std=False)(batch)

assert not ours.advantages[~batch.action_mask].any(), "nothing for what the environment said"
order = torch.randperm(12)
torch.testing.assert_close(ByChoice()(batch.select(order)).advantages, ours.advantages[order])  # rows may be permuted
torch.testing.assert_close(ByChoice(mix=0.0)(batch).advantages, flat.advantages)  # λ = 0 is GRPO
total, flat_total = ours.components["choice"].sum(1), flat.components["outcome"].sum(1)
torch.testing.assert_close(total, flat_total)  # whatever λ, a rollout has as much to share out

try:
    ask(rollouts([[1], [1]], rewards=[1, 0]), [ByChoice()])
    raise AssertionError("a batch without entropies must be refused")
except ValueError as error:
    print(f"ValueError: {error}")

# %% [markdown]
# ## On real rollouts
#
# The policy of the other notebooks, and some groups of its rollouts.

# %%
world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), world.demonstrations, HermesFormat())

tasks = [task for task in world.tasks("validation") if task.meta["hops"] > 1][:6]
session = RolloutSession(policy, world, seed=5)
collection = session.sample(tasks, group_size=8, signals=Signal.ENTROPIES | Signal.ANSWER_LOGPROBS)
records, trajectories = session.records(collection), collection.trajectories
opinions = ask(collection.batch, [GRPO(normalize_std=False), IGPO(), ByChoice()])


def in_words(turn: dict) -> str:
    """A turn as a call and what came back, or as the answer."""
    calls = [f"{call['name']}({', '.join(map(str, call['arguments'].values()))})" for call in turn["tool_calls"]]
    return f"{' '.join(calls)} → {' '.join(turn['results'])}" if calls else turn["action"]


row = next(row for row, t in enumerate(trajectories) if t.outcome == 1 and len(t.turns) >= 4)
length = len(trajectories[row].turns)
turn_table(
    [in_words(turn) for turn in records[row]["turns"]],
    {opinion.label: opinion.turns[row, :length].tolist() for opinion in opinions},
    f"{records[row]['messages'][-1]['content']}  (reward {records[row]['reward']:.0f})",
)

# %% [markdown]
# ## Against the truth
#
# Is it *right*? As in notebook 3, we measure what a turn was worth: fork in front of every turn, sample fresh endings,
# take the difference of mean rewards. Then compare, turn by turn, with what each assigner said.

# %%
forks = 12 if QUICK else 32
measured = [row for row, t in enumerate(trajectories) if t.answer and t.sample < (1 if QUICK else 3)]
points = [
    BranchPoint(trajectories[row].id, column)
    for row in measured
    for column in starts(trajectories[row])
    for _ in range(forks)
]
branches = [t for t in session.branch(collection, points).trajectories if t.origin]
session.close()

truth, said = [], {opinion.label: [] for opinion in opinions}
for row in measured:
    rollout = trajectories[row]
    mine = [t for t in branches if t.origin.parent == rollout.id]
    value = [mean(t.outcome for t in mine if t.origin.column == column) for column in starts(rollout)]
    truth += [after - before for before, after in pairwise([*value, rollout.outcome])]
    for opinion in opinions:
        said[opinion.label] += opinion.turns[row, : len(rollout.turns)].tolist()
agreement = {label: correlation(truth, numbers) for label, numbers in said.items()}
print(f"{len(truth)} turns of {len(measured)} rollouts, {len(branches)} forks")

# %%
with canvas(1, 3, 7.5, 2.5) as (figure, axes):
    for axis, (label, numbers), colour in zip(axes, said.items(), SERIES, strict=False):
        axis.axhline(0, color="#cccccc", linewidth=0.8)
        axis.axvline(0, color="#cccccc", linewidth=0.8)
        axis.scatter(truth, numbers, s=12, color=colour, alpha=0.5, linewidth=0)
        axis.set_title(f"{label}, r = {agreement[label]:.2f}", loc="left")
        axis.set_xlabel("measured advantage of a turn")
    axes[0].set_ylabel("credit")
figure

# %%
assert agreement["ByChoice"] > agreement["GRPO"], "credit where there was a choice is closer to the truth"

# %% [markdown]
# In this game, that is: its choices are few and sharp, and the entropy finds them. Where a policy is unsure of its
# *wording*, entropy is no sign of a choice that matters, and this assigner will pay for chatter. An idea is worth what it
# predicts; now you can measure it.
#
# ## Train with it
#
# Nothing needs to be registered: the module asks the assigner what it needs, and the rest follows. From a package of your
# own: `agentrl fit -c base --model.credit my_package.ByChoice --model.credit.mix 0.5`.

# %%
seed_everything(0, verbose=False)
shutil.rmtree("runs/by_choice", ignore_errors=True)  # of an earlier execution
module = AgentRLModule(
    policy=str(policy),
    credit=ByChoice(),
    optimizer=partial(torch.optim.AdamW, lr=5e-4, betas=(0.9, 0.99), weight_decay=0.0),
)
data = AgentRLDataModule(
    environment=world,
    engine=TransformersEngine(),
    format=HermesFormat(),
    prompts_per_epoch=12,
    group_size=8,
    max_turn_tokens=48,
    max_model_len=384,
)
trainer = Trainer(
    max_epochs=2 if QUICK else 8,
    check_val_every_n_epoch=2,
    gradient_clip_val=1.0,
    accelerator="cpu",
    logger=TensorBoardLogger("runs", name="by_choice", version=0),
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    log_every_n_steps=1,
)
trainer.fit(module, data)
scalars = read_scalars(Path(trainer.log_dir))
curves({"ByChoice": scalars}, ["val/success", "credit/turn_1_std", "credit/turn_2_std"])

# %% [markdown]
# Every assigner's credit is logged, yours included: the second turn's credit varies more than twice as much as the
# first's, as it should where the second turn decides. Greedy success follows.

# %%
first, second = scalars["credit/turn_1_std"][0][1], scalars["credit/turn_2_std"][0][1]
print(f"spread of credit: turn 1 {first:.2f}, turn 2 {second:.2f}; greedy success {scalars['val/success'][-1][1]:.2f}")
assert second > first
if not QUICK:
    assert scalars["val/success"][-1][1] > 0.6, "from a third"

# %% [markdown]
# To contribute one: the class in a file of its own in `lightning_agentrl/credit/`, a recipe in `configs/algorithm/`, the
# pencil test in `tests/credit/`. The contract suite finds it by itself:
# [Add a credit assigner](../tutorials/30_add_a_credit_assigner.md).
