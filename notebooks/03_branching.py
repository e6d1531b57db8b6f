# %% [markdown]
# # 3 · Branching, drawn as a tree
#
# A group of independent rollouts repeats itself: siblings share the prompt, and often the first turns as well. Instead
# of starting again, one can **fork** a rollout where it matters and sample anew from there. ARPO forks behind tool
# results, where the policy became unsure; we draw its trees, and then fork by hand to measure what every single turn of
# a rollout was worth.

# %%
# %matplotlib inline
from itertools import pairwise
from pathlib import Path
from statistics import mean

from lightning_agentrl import ARPO
from lightning_agentrl.branching.entropy import EntropyBranching, starts
from lightning_agentrl.callbacks.drawings import limb
from lightning_agentrl.figures.branch_tree import branch_tree
from lightning_agentrl.figures.canvas import SERIES, canvas
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.opinions import ask
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.types import BranchPoint
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), world.demonstrations, HermesFormat())
tasks = [task for task in world.tasks("validation") if task.meta["hops"] == 3]

# %% [markdown]
# ## ARPO: fork where the tool's answer made the policy unsure
#
# Of a budget of $M$ rollouts per prompt, some start at the prompt. When a live rollout has said its next turn, it is
# forked in front of that turn with probability
#
# $$P = \operatorname{clip}(\alpha + w \cdot \Delta H,\ 0,\ 1),$$
#
# $\Delta H$ being the entropy of the turn's first tokens less that of the rollout's first turn. What is left of the
# budget in the end goes to further rollouts from the prompt, so a prompt always has exactly $M$.

# %%
budget = 12
forking = EntropyBranching(initial_roots=3, base=0.5, weight=0.4)
with RolloutSession(policy, world, branching=forking, seed=1) as session:
    grown = session.sample(tasks[:6], group_size=budget)

trajectories, batch = grown.trajectories, grown.batch
forks = [sum(t.origin is not None for t in trajectories if t.group == group) for group in range(6)]
print("branches per prompt:", forks)
assert batch.group_ids.bincount().tolist() == [budget] * 6

# %% [markdown]
# A branch *is* its parent up to the fork, token for token and log-probability for log-probability, never sampled again:

# %%
row_of = {trajectory.id: row for row, trajectory in enumerate(trajectories)}
for row, branch in enumerate(trajectories):
    if branch.origin:
        parent, column = row_of[branch.origin.parent], branch.origin.column
        assert batch.input_ids[row, :column].equal(batch.input_ids[parent, :column])
        assert batch.sampling_logprobs[row, :column].equal(batch.sampling_logprobs[parent, :column])
print("every branch begins as its parent did")

# %% [markdown]
# ## The tree
#
# Time runs to the right, in tokens. Thick is the policy speaking, thin is it listening; a dot is a fork; the number at
# the end is the reward. Colour is ARPO's credit, which judges a leaf against all leaves of its tree. A shared prefix
# belongs to several leaves: with `credit="hard"` it is trained once, with the **mean** credit of the rollouts that share
# it, and so it is paler than its leaves wherever these disagree.

# %%
hard = ask(batch, [ARPO(credit="hard")])[0]
rewards = batch.rewards.tolist()


def spread(group: int) -> float:
    """Share of winners, or of losers if they are fewer."""
    won = mean(rewards[row] for row, t in enumerate(trajectories) if t.group == group)
    return min(won, 1 - won) * (forks[group] > 2)


shown = max(range(6), key=spread)
limbs = [
    limb(trajectory, hard.turns[row].tolist(), rewards[row])
    for row, trajectory in enumerate(trajectories)
    if trajectory.group == shown
]
branch_tree(limbs, tasks[shown].messages[-1]["content"])

# %% [markdown]
# The picture explains the game: behind the first note the policy either follows it or grabs for the coin, and from there
# on everything is decided. Forks further right teach nothing: their branches all end alike.
#
# What it saved: a token that several rollouts share was sampled once. It is scored and trained once, too, because the
# trainer computes each distinct token of the tree a single time.

# %%
total = sum(len(trajectory.token_ids) for trajectory in trajectories)
distinct = sum(len(trajectory.token_ids) - trajectory.inherited for trajectory in trajectories)
print(f"{total} tokens in {len(trajectories)} rollouts, {distinct} of them distinct: {1 - distinct / total:.0%} saved")
assert distinct < total

# %% [markdown]
# ## What was every turn worth? Measure it
#
# The value of a state is the reward one can expect from it, and with forks that can simply be tried out: from in front
# of each turn of a rollout, sample $n$ fresh endings and average their rewards. The difference from turn to turn is what
# the turn did, its advantage in the textbook sense:
#
# $$\hat V_k = \frac{1}{n} \sum_{j=1}^{n} R^{(j)}_{\text{forked in front of turn } k}, \qquad
# \hat A_k = \hat V_{k+1} - \hat V_k, \qquad \hat V_{K+1} = R$$
#
# Far too dear to train with, but it is the truth that credit assigners try to guess. We measure one winner and one loser
# of the same task; bars are one standard error.

# %%
n = 48
with RolloutSession(policy, world, seed=4) as session:
    pair = session.sample(tasks[:1], group_size=12)
    won = next(t for t in pair.trajectories if t.outcome == 1)
    lost = next(t for t in pair.trajectories if t.outcome == 0 and t.answer)
    points = [BranchPoint(t.id, column) for t in (won, lost) for column in starts(t) for _ in range(n)]
    forked = session.branch(pair, points)
    records = {record["id"]: record for record in session.records(pair)}

values = {}
for rollout in (won, lost):
    mine = [t for t in forked.trajectories if t.origin and t.origin.parent == rollout.id]
    by_turn = [mean(t.outcome for t in mine if t.origin.column == column) for column in starts(rollout)]
    values[rollout.id] = [*by_turn, rollout.outcome]

# %%
with canvas(1, 2, 7.2, 2.4, sharey=True) as (figure, axes):
    for axis, rollout, colour in zip(axes, (won, lost), SERIES, strict=False):
        value = values[rollout.id]
        error = [(v * (1 - v) / n) ** 0.5 for v in value]  # of a mean of n zeros and ones
        axis.errorbar(range(1, len(value) + 1), value, error, color=colour, marker="o", markersize=4, capsize=2)
        names = [
            " ".join([call["name"], *call["arguments"].values()]) if turn["tool_calls"] else "answer"
            for turn in records[rollout.id]["turns"]
            for call in (turn["tool_calls"] or [None])
        ]
        for turn, name in enumerate(names):
            step, middle = value[turn + 1] - value[turn], (value[turn] + value[turn + 1]) / 2
            side = "center" if abs(step) < 0.2 else "right" if step > 0 else "left"
            offset = ({"center": 0, "right": -6, "left": 6}[side], 9 if side == "center" else 2)
            axis.annotate(name, (turn + 1.5, middle), xytext=offset, textcoords="offset points", ha=side, fontsize=7)
        axis.set_xticks(range(1, len(value) + 1), [*map(str, range(1, len(value))), "end"])
        axis.set_xlabel("in front of turn")
        axis.set_title(f"reward {rollout.outcome:.0f}", loc="left")
        axis.set_ylim(-0.08, 1.15)
    axes[0].set_ylabel("expected reward")
figure

# %%
for rollout in (won, lost):
    value = values[rollout.id]
    worth = [after - before for before, after in pairwise(value)]
    print(f"reward {rollout.outcome:.0f}:", "  ".join(f"turn {k} {a:+.2f}" for k, a in enumerate(worth, 1)))
    assert worth.index(max(worth, key=abs)) == 1, "the second turn decides"

# %% [markdown]
# The second turn decides: following the note wins the game, grabbing loses it, and nothing that comes later changes
# that. This is the shape to hope for from a credit assigner. Look again at the columns of
# [notebook 2](02_five_assigners.ipynb): which come closest?
#
# To train with branches: `agentrl fit -c base -c algorithm/arpo`, or `algorithm/appo`, which forks finished rollouts at
# single tokens. The equations: [ARPO](../tutorials/algorithms/arpo.md), [APPO](../tutorials/algorithms/appo.md).
