# %% [markdown]
# # 2 · Five assigners, one trajectory
#
# The last notebook ended with a complaint: GRPO gives every turn of a rollout the same credit. Here four other assigners
# look at the very same tokens. Nothing is sampled twice, nothing is trained; only the answer to one question changes:
# **which turn earned the reward?**

# %%
# %matplotlib inline
from functools import reduce
from operator import or_
from pathlib import Path

import torch
from rich.console import Console

from lightning_agentrl import A2TGPO, AEM, GRPO, IGPO, GiGPO
from lightning_agentrl.figures.canvas import SERIES, canvas
from lightning_agentrl.figures.turn_table import turn_table
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.figures import compare
from lightning_agentrl.inspector.opinions import agreements, ask
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.inspector.tables import comparison
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), world.demonstrations, HermesFormat())

# %% [markdown]
# ## The five
#
# | assigner | a turn earns … | needs |
# |---|---|---|
# | `GRPO` | the rollout's reward against its siblings | – |
# | `GiGPO` | that, plus how it did against turns that started from the **same state** | state keys |
# | `IGPO` | how much likelier it made the **ground truth**, plus the outcome | $\log \pi(\text{truth})$ after each turn |
# | `A2TGPO` | the same gain, compared with the **same turn** of its siblings | the same |
# | `AEM` | what another assigner says (here GRPO), scaled by how **confident** the turn was | entropies |
#
# An assigner declares what it needs, and nobody computes a signal that nobody declared. (`guard=0` because this policy
# is so sure of itself that AEM's default guard, 0.1 nats, would leave it alone.)

# %%
assigners = [GRPO(), GiGPO(), IGPO(), A2TGPO(), AEM(base=GRPO(), guard=0.0)]
needed = reduce(or_, (assigner.requires for assigner in assigners))
print(needed)

tasks = [task for task in world.tasks("validation") if task.meta["hops"] == 3][:4]
with RolloutSession(policy, world, seed=0) as session:
    collection = session.sample(tasks, group_size=8, signals=needed)
    records = session.records(collection)
batch = collection.batch
opinions = ask(batch, assigners)

# %% [markdown]
# ## One trajectory
#
# The policy had to follow two notes, and did. All five read the same row:

# %%
row = next(row for row, record in enumerate(records) if record["outcome"] == 1 and len(record["turns"]) == 5)
turns = len(records[row]["turns"])


def in_words(turn: dict) -> str:
    """A turn as a call and what came back, or as the answer."""
    calls = [f"{call['name']}({', '.join(call['arguments'].values())})" for call in turn["tool_calls"]]
    return f"{' '.join(calls)} → {' '.join(turn['results'])}" if calls else turn["action"]


turn_table(
    [in_words(turn) for turn in records[row]["turns"]],
    {opinion.label: opinion.turns[row, :turns].tolist() for opinion in opinions},
    f"{records[row]['messages'][-1]['content']}  (reward {records[row]['reward']:.0f})",
)

# %% [markdown]
# Read it column by column. GRPO is flat: it only knows that the rollout won. GiGPO lifts the turns whose state siblings
# met as well and from which they fared differently; where it has nobody to compare with, it is GRPO. The next two ask
# what a turn **found out**, so let us look at that first.
#
# ## What a turn found out
#
# After each turn we ask the policy how likely it thinks the ground truth, here the coin's box. Information gain is the
# step that this curve takes:
#
# $$\mathrm{IG}_k = \log \pi(\text{truth} \mid \text{turns} \le k) - \log \pi(\text{truth} \mid \text{turns} < k)$$

# %%
same_task = (batch.group_ids == batch.group_ids[row]).nonzero()[:, 0].tolist()
with canvas(1, 1, 4.6, 2.3) as (figure, (axis,)):
    for label, reward, colour in (("found the coin", 1.0, SERIES[0]), ("did not", 0.0, SERIES[1])):
        members = [number for number in same_task if float(batch.rewards[number]) == reward]
        for number in members:
            known = batch.answer_logprobs[number].isfinite()
            likely = batch.answer_logprobs[number][known].exp()
            axis.plot(likely, color=colour, marker="o", markersize=3, linewidth=1, alpha=0.7)
        axis.plot([], color=colour, label=f"{label} ({len(members)})")
    axis.set_xlabel("turns taken")
    axis.set_ylabel("likelihood of the truth\n(per token, geometric mean)")
    axis.set_xticks(range(batch.turn_mask.shape[1]))
    axis.legend(frameon=False)
figure

# %% [markdown]
# Nobody can guess the box from the prompt. On the way the truth even becomes *less* likely: asked behind the second box,
# this policy would name the box that it opened last. Only rollouts that follow the notes to the end come to know better;
# those that grab early never do.
#
# IGPO standardises these gains over the prompt and sums up what lies ahead of a turn, plus the outcome. A²TGPO compares
# a gain with the gains of the **same turn** of the siblings, so that a first turn is not praised for being a first turn.
#
# ## Do they keep their promises?

# %%
by_label = {opinion.label: opinion for opinion in opinions}
grpo, gigpo = by_label["GRPO"], by_label["GiGPO"]
exists = batch.turn_mask

# GRPO is flat over the turns of a rollout.
torch.testing.assert_close(grpo.turns, grpo.turns[:, :1] * exists)

# GiGPO is GRPO wherever a state was met only once.
states = torch.stack([batch.group_ids[:, None].expand_as(exists), batch.state_keys], dim=-1)[exists]
_, which, times = states.unique(dim=0, return_inverse=True, return_counts=True)
alone = times[which] == 1
torch.testing.assert_close(gigpo.turns[exists][alone], grpo.turns[exists][alone])

# Information gains telescope: over a rollout they add up to what was known in the end, less what was known at first.
logs = batch.answer_logprobs
last = logs.isfinite().sum(1, keepdim=True) - 1
gains = logs.diff(dim=1).nan_to_num(0.0)
torch.testing.assert_close(gains.sum(1), (logs.gather(1, last) - logs[:, :1])[:, 0])

# AEM only rescales: no turn changes its sign, and over the turns of a prompt the factor averages one.
aem = by_label["AEM(GRPO)"]
assert torch.equal(aem.turns.sign(), grpo.turns.sign())
factor = aem.batch.components["entropy factor"]
for group in batch.group_ids.unique():
    mine = factor[batch.group_ids == group][exists[batch.group_ids == group]]
    torch.testing.assert_close(mine.mean(), torch.tensor(1.0), rtol=0, atol=1e-4)

# A²TGPO's answer turn earns the outcome alone.
rewards = batch.rewards[same_task]
outcome = (1 - rewards.mean()) / rewards.std(correction=0)
torch.testing.assert_close(by_label["A2TGPO"].turns[row, turns - 1], outcome)
print("all kept")

# %% [markdown]
# ## And over all rollouts?
#
# A heat map has one line per rollout, the best of each prompt on top; grey is a turn that did not happen.

# %%
compare(records, opinions, prompts=3)

# %% [markdown]
# How far do they agree, turn by turn? A *sign flip* is a turn that one assigner reinforces and the other discourages;
# *one-sided* a turn that one of them leaves alone.

# %%
pairs = agreements(opinions)
Console(width=100, force_jupyter=False, color_system=None).print(comparison(pairs, {}))
assert all(pair.sign_flips == 0 for pair in pairs if (pair.first, pair.second) == ("GRPO", "AEM(GRPO)"))
assert all(pair.rank_correlation < 0.99 for pair in pairs), "five assigners, five opinions"

# %% [markdown]
# On your own runs: `agentrl recredit RUN --credit A2TGPO --vs GRPO IGPO` does this for saved rollouts, and
# `agentrl view RUN` makes a page of it. Every assigner has [a page](../tutorials/algorithms/README.md) with its
# equations and its deviations from the paper; [notebook 6](06_write_a_credit_assigner.ipynb) writes a new one.
