# %% [markdown]
# # 7 · What a sick run looks like
#
# Reinforcement learning seldom crashes when it is wrong. It runs, the curves wiggle, and the agent does not learn. Here we
# make a healthy run ill in four ways, **on purpose**, each through a public seam of the framework, and look for the chart
# that gives each illness away:
#
# | illness | how it comes about |
# |---|---|
# | stale weights | the engine keeps sampling with an old policy: a broken hand-over, or a prefix cache that survives it |
# | wrong mask | what the *environment* said is trained as if the policy had said it |
# | collapsed entropy | the policy is rewarded for being sure of itself, and stops trying anything else |
# | disintegration | steps too large, and the policy forgets how to act |

# %%
# %matplotlib inline
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl import GRPO, Credit, CreditAssigner, RolloutBatch, Signal
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.figures.curves import curves
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.scalars import read_scalars
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.rollout.parity import ParityError
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
QUICK = bool(os.environ.get("AGENTRL_QUICK"))  # continuous integration sets it: shorter runs, and less is claimed
EPOCHS = 3 if QUICK else 8

world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), world.demonstrations, HermesFormat())


# %% [markdown]
# ## A healthy run
#
# One function for all runs; the arguments are the seams. The same seed, so that all runs begin with the very same rollouts.


# %%
def train(name: str, *, module=AgentRLModule, engine=TransformersEngine, credit=GRPO(), lr=5e-4, tolerance=None):  # noqa: B008
    """Train the treasure hunter for some epochs; returns what was logged."""
    seed_everything(0, verbose=False)
    shutil.rmtree(Path("runs/sick") / name, ignore_errors=True)
    learner = module(
        policy=str(policy),
        credit=credit,
        optimizer=partial(torch.optim.AdamW, lr=lr, betas=(0.9, 0.99), weight_decay=0.0),
    )
    rollouts = AgentRLDataModule(
        environment=world,
        engine=engine(),
        format=HermesFormat(),
        prompts_per_epoch=12,
        group_size=8,
        max_turn_tokens=48,
        max_model_len=384,
        parity_tolerance=tolerance,
    )
    trainer = Trainer(
        max_epochs=EPOCHS,
        gradient_clip_val=1.0,
        accelerator="cpu",
        limit_val_batches=0,
        logger=TensorBoardLogger("runs", name="sick", version=name),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(learner, rollouts)
    return read_scalars(Path(trainer.log_dir))


def values(run: dict, name: str) -> list[float]:
    """One curve, without its steps."""
    return [value for _, value in run[name]]


healthy = train("healthy")
print("reward:", " ".join(f"{value:.2f}" for value in values(healthy, "reward/mean")))

# %% [markdown]
# ## Illness 1: stale weights
#
# An engine that takes the first hand-over of weights and loses all later ones. The same happens to real engines when a
# name does not match, a compiled graph keeps its constants, or the prefix cache outlives the weights it was made with.


# %%
class StaleEngine(TransformersEngine):
    """Loses every hand-over of weights but the first."""

    def update_weights(self, weights, version: int) -> None:
        """Take the weights of version 0 only."""
        if version == 0:
            super().update_weights(weights, version)


try:
    train("stale, guarded", engine=StaleEngine)
    raise AssertionError("the parity check must stop this run")
except ParityError as error:
    print(f"ParityError: {error}")

# %% [markdown]
# The framework stopped the run at the second collection. After every hand-over it lets the engine sample a few tokens and
# the trainer score them; one optimizer step is enough for the two to disagree. Now with the guard off
# (`data.parity_tolerance: 0`), to see what the illness looks like where nobody guards:

# %%
stale = train("stale", engine=StaleEngine, tolerance=0)
charts = ["reward/mean", "policy/ratio_deviation", "policy/mismatch_max"]
bound = {"policy/mismatch_max": 1e-4}
curves({"healthy": healthy, "stale": stale}, charts, logarithmic=["policy/mismatch_max"], bounds=bound)

# %% [markdown]
# **How to tell.** `policy/mismatch_max`, the largest difference between the engine's and the trainer's log-probability of a
# sampled token, starts at rounding and **grows with every step**. The ratio says nothing: it compares the trainer with
# itself. The reward does not rise, since the policy that earns it never changes, and looks just like a bad learning rate.

# %%
mismatch = values(stale, "policy/mismatch_max")
assert mismatch[0] < 1e-4 < 100 * 1e-4 < mismatch[-1], "well at first, then further away with every step"
assert set(values(stale, "policy/ratio_deviation")) == {0.0}, "the ratio is blind to it"
assert max(values(healthy, "policy/mismatch_max")) < 1e-4

# %% [markdown]
# ## Illness 2: the wrong mask
#
# The most common bug of home-made agent training: the tool's answers get gradient, and the policy is rewarded for the
# words of its environment. First the clumsy way, an assigner that forgets the mask:


# %%
class Unmasked(CreditAssigner):
    """Pays every token of a row, whoever said it."""

    def __call__(self, batch: RolloutBatch, *, all_reduce=None) -> Credit:
        """The group-centred reward, everywhere."""
        centred = batch.rewards - batch.rewards.mean()
        return Credit(centred[:, None].expand(batch.input_ids.shape).clone())


try:
    train("unmasked", credit=Unmasked())
    raise AssertionError("credit off the action mask must be refused")
except ValueError as error:
    print(f"ValueError: {error}")

# %% [markdown]
# Refused. So we have to go behind the framework's back and falsify the mask itself, before credit is assigned, in a module
# that calls what was heard part of the turn before it:


# %%
class LeakyModule(AgentRLModule):
    """Trains on what the tools answered."""

    def assign(self, batch: RolloutBatch) -> RolloutBatch:
        """Widen the action mask to all that follows the prompt."""
        turns = batch.turn_ids.cummax(dim=1).values
        leaked = batch.attention_mask & (turns >= 0)
        return super().assign(replace(batch, action_mask=leaked, turn_ids=turns.masked_fill(~leaked, -1)))


leaky = train("wrong mask", module=LeakyModule)
charts = ["reward/mean", "policy/grad_norm", "policy/mismatch_max"]
curves({"healthy": healthy, "wrong mask": leaky}, charts, logarithmic=["policy/mismatch_max"], bounds=bound)

# %% [markdown]
# **How to tell.** `policy/mismatch_max` again, but with another signature: enormous **from the very first step**, when the
# weights cannot be stale yet. The sampler never gave these tokens a log-probability, so there is nothing to agree with.
# Stale weights grow apart; a wrong mask is born apart. The gradient is many times too large as well, because the policy
# is bad at predicting what its tools will say, and learning that is now its main business: the game suffers. The parity
# check on fixed prompts sees nothing of it: weights and kernels are fine, the *rows* are wrong.

# %%
assert values(leaky, "policy/mismatch_max")[0] > 1, "nats, before any step was made"
assert values(leaky, "policy/grad_norm")[0] > 5 * values(healthy, "policy/grad_norm")[0]
assert max(values(leaky, "policy/parity_gap")) < 1e-4, "which is why it takes both checks"
if not QUICK:
    assert mean(values(leaky, "reward/mean")[-3:]) < mean(values(healthy, "reward/mean")[-3:]) - 0.1

# %% [markdown]
# ## Illness 3: collapsed entropy
#
# Self-confidence, rewarded: a bonus of $c$ for every token that the policy thought likelier than not. The more often it does
# something, the more it is paid for doing it. The same happens more slowly where credit lacks a baseline, or where
# clipping holds unlikely tokens down more than it holds likely ones up.


# %%
@dataclass(frozen=True)
class Complacent(CreditAssigner):
    """GRPO, and a bonus for what the policy was likely to say anyway."""

    weight: float = 20.0
    """c."""

    @property
    def requires(self) -> Signal:
        """How sure the policy was."""
        return Signal.OLD_LOGPROBS

    def __call__(self, batch: RolloutBatch, *, all_reduce=None) -> Credit:
        """Outcome plus complacency."""
        sure = batch.action_mask & (batch.old_logprobs.exp() > 0.5)
        return Credit(GRPO()(batch).advantages + self.weight * sure)


frozen = train("collapsed entropy", credit=Complacent(), lr=2e-3)
charts = ["reward/mean", "policy/entropy", "reward/zero_variance_share"]
curves({"healthy": healthy, "collapsed entropy": frozen}, charts)

# %% [markdown]
# **How to tell.** Every guard is silent: this is a lawful run with a bad objective. The siblings of a group become copies of
# each other, so `reward/zero_variance_share` climbs towards 1, and a group that agrees with itself teaches nothing. The
# policy is stuck with what it did most often when it froze: here, grabbing. `policy/entropy` ends well below that of the
# healthy run, and would do so more clearly were it not a mean over all tokens: most of them are syntax, without any
# choice before or after. The zero-variance share is the entropy of whole *rollouts*, and the better witness.

# %%
if not QUICK:
    assert mean(values(frozen, "policy/entropy")[-3:]) < 0.7 * mean(values(healthy, "policy/entropy")[-3:])
    assert values(frozen, "reward/zero_variance_share")[-1] > 0.7 > max(values(healthy, "reward/zero_variance_share"))
    assert mean(values(frozen, "reward/mean")[-3:]) < mean(values(healthy, "reward/mean")[-3:]) - 0.1
assert max(values(frozen, "policy/mismatch_max")) < 1e-3

# %% [markdown]
# ## Illness 4: disintegration
#
# Ten times the learning rate.

# %%
wrecked = train("disintegration", lr=5e-3)
charts = [
    "reward/mean",
    "policy/entropy",
    "reward/zero_variance_share",
    "policy/grad_norm",
    "rollout/turns",
    "tool/error_share",
]
curves({"healthy": healthy, "disintegration": wrecked}, charts)

# %% [markdown]
# **How to tell.** The opposite entropy: it *climbs*, for the policy babbles. One step was enough to lose the syntax of the
# calls: `tool/error_share` leaps to 1. No rollout earns anything, so again every group agrees with itself, and the
# gradient is exactly zero: **nothing can bring this run back**. When the zero-variance share touches 1 at reward 0, stop,
# go back to a checkpoint, and take smaller steps: a lower rate, several clipped steps per collection, a KL to the start.

# %%
if not QUICK:
    assert values(wrecked, "reward/mean")[-1] == 0
    assert values(wrecked, "reward/zero_variance_share")[-1] == 1
    assert values(wrecked, "policy/grad_norm")[-1] == 0, "nothing pulls it back"
    assert values(wrecked, "policy/entropy")[-1] > 5 * values(healthy, "policy/entropy")[-1]
assert max(values(wrecked, "tool/error_share")) > 2 * max(values(healthy, "tool/error_share"))

# %% [markdown]
# ## A card for the wall
#
# | chart | healthy | stale weights | wrong mask | collapsed entropy | disintegration |
# |---|---|---|---|---|---|
# | `policy/mismatch_max` | rounding | **grows from 0** | **huge from step 1** | rounding | rounding |
# | `policy/parity_gap` | rounding | **grows**, stops the run | rounding | rounding | rounding |
# | `policy/ratio_deviation`, one step per collection | 0 | 0 | 0 | 0 | 0 |
# | `policy/entropy` | drifts | drifts | drifts | **falls** | **climbs** |
# | `policy/grad_norm` | moderate | rises | **huge from step 1** | large | → 0 |
# | `reward/zero_variance_share` | moderate | moderate | moderate | **→ 1** | **→ 1** |
# | `tool/error_share` | small | small | rises | rises a little | **→ 1** |
# | `reward/mean` | rises | flat | falls | freezes | → 0 |
#
# In TensorBoard the page *Health* of the Custom Scalars tab holds these charts side by side. More:
# [Debugging RL](../tutorials/70_debugging_rl.md).
