# %% [markdown]
# # 1 · A first rollout, and its credit by hand
#
# An agent plays a game with two tools. We watch it play the same game eight times, work out **by hand** who deserves
# what, and check that the framework says the same. Then we take one step along the gradient and see it do what the
# credit promised.
#
# Nothing is downloaded: the policy is a network of 0.2 million parameters that learns the game's moves here, in a
# quarter of a minute.

# %%
# %matplotlib inline
from pathlib import Path
from statistics import mean, stdev

import torch
from IPython.display import Markdown, display

from lightning_agentrl import GRPO, Signal
from lightning_agentrl.callbacks.drawings import strip
from lightning_agentrl.callbacks.transcripts import markdown
from lightning_agentrl.figures.token_strip import token_strips
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.rollout.pieces import Pieces
from lightning_agentrl.scoring import score
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()

# %% [markdown]
# ## The game
#
# Boxes hold notes that name other boxes; the last box of the trail holds a coin. The agent can `open` a box and `take`
# what is in the box that it opened last. Taking the coin earns 1, anything else 0.
#
# The policy learnt from a script with one systematic flaw: in 60 % of its games it grabs for the coin right after the
# first box, whatever it found there.

# %%
world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
start = WarmStart(shape=shape, steps=400, cache="runs/policies")
policy = warm_start(start, world.demonstrations, HermesFormat())

for tool in world.tools:
    print(f"{tool.name}({', '.join(tool.parameters['properties'])}): {tool.description}")

# %% [markdown]
# ## One group of rollouts
#
# Eight rollouts of one task are a **group**. They share the prompt, so what differs between them is what the policy
# chose. `RolloutSession` is the training loop's sampler without the training.

# %%
task = next(task for task in world.tasks("validation") if task.meta["hops"] == 2)
session = RolloutSession(policy, world, seed=2)
group = session.sample([task], group_size=8, signals=Signal.OLD_LOGPROBS | Signal.ENTROPIES)
rewards = [trajectory.reward.shaped for trajectory in group.trajectories]
assert max(rewards) > min(rewards), "a group that agrees with itself teaches nothing"
best = rewards.index(1.0)
worst = next(row for row, trajectory in enumerate(group.trajectories) if trajectory.outcome == 0 and trajectory.answer)
print("rewards:", rewards)
for row in (best, worst):
    display(Markdown(markdown(group.trajectories[row], session.tokenizer)))

# %% [markdown]
# ## What the trainer sees
#
# A rollout is one row of tokens. Only the tokens that the policy **sampled** may be trained; what the tools answered
# was not its choice. Below, sampled tokens are shaded by the **entropy** of the policy at that token: white is certain,
# blue is undecided. That is where the rollouts of a group part ways. Grey is the environment speaking.

# %%
batch, pieces = group.batch, Pieces(session.tokenizer)
entropies = batch.entropies.masked_fill(~batch.action_mask, float("nan"))
token_strips([strip(group.trajectories[row], entropies[row].numpy(), pieces) for row in (best, worst)])

# %% [markdown]
# Tokens are made once and never made again: the engine's own token ids are what is scored. So engine and trainer must
# agree on every log-probability, to rounding.

# %%
gap = (batch.sampling_logprobs - batch.old_logprobs)[batch.action_mask].abs().max()
print(f"{int(batch.action_mask.sum())} sampled tokens, largest disagreement {gap:.1e} nats")
assert gap < 1e-4

# %% [markdown]
# ## Credit, by hand
#
# GRPO judges a rollout against its siblings:
#
# $$A_i = \frac{R_i - \operatorname{mean}(R)}{\operatorname{std}(R) + \varepsilon}$$
#
# and gives $A_i$ to every sampled token of rollout $i$. That is all. With $\varepsilon = 10^{-6}$ and the sample
# standard deviation:

# %%
by_hand = [(reward - mean(rewards)) / (stdev(rewards) + 1e-6) for reward in rewards]
credit = GRPO()(batch)

for row, (reward, ours) in enumerate(zip(rewards, by_hand, strict=True)):
    theirs = credit.advantages[row][batch.action_mask[row]]
    print(f"rollout {row}: reward {reward:.0f}, by hand {ours:+.4f}, by GRPO {theirs[0]:+.4f} on {len(theirs)} tokens")
    torch.testing.assert_close(theirs, torch.full_like(theirs, ours))

assert not credit.advantages[~batch.action_mask].any(), "what the environment said earns nothing"
assert abs(sum(by_hand)) < 1e-5, "a group's credit sums to zero"

# %%
shaded = credit.advantages.masked_fill(~batch.action_mask, float("nan"))
token_strips([strip(group.trajectories[row], shaded[row].numpy(), pieces) for row in (best, worst)])

# %% [markdown]
# Blue is to become likelier, red less likely. Notice what is wrong with this picture: both rollouts **begin with the
# same call**, and one is praised for it while the other is blamed. Summed over the group that cancels only in part. Who
# really earned the reward is the question of the next notebook.
#
# ## One step along the gradient
#
# The policy gradient is credit times the gradient of log-probability:
#
# $$\nabla J = \frac{1}{|\text{tokens}|} \sum_i \sum_{t \in \text{sampled}} A_{i,t}\, \nabla \log \pi(x_{i,t} \mid x_{i,<t})$$

# %%
network = session.network
logprobs = score(network, batch, temperature=1.0, max_tokens=16384).logprobs
loss = -(credit.advantages * logprobs).sum() / batch.action_mask.sum()
loss.backward()
torch.optim.SGD(network.parameters(), lr=0.005).step()

after = session.score(batch, [task] * 8, Signal.CURRENT_LOGPROBS).current_logprobs
moved = ((after - batch.old_logprobs) * batch.action_mask).sum(1)
for row in range(8):
    print(f"rollout {row}: credit {by_hand[row]:+.2f}, log-probability of the whole rollout {moved[row]:+.3f}")

praised = torch.tensor(by_hand) > 0
assert moved[praised].mean() > 0 > moved[~praised].mean()
session.close()

# %% [markdown]
# Rollouts that found the coin became likelier, the others less likely. Training is this, again and again, with fresh
# rollouts each time: [notebook 4](04_train_and_read_the_curves.ipynb). Before that, two questions: which *turn* earned
# the reward ([notebook 2](02_five_assigners.ipynb)), and what if we forked the rollout at the turn that matters
# ([notebook 3](03_branching.ipynb))?
