# %% [markdown]
# # 4 · Train the agent, and read the curves
#
# Three objects, and they are Lightning's: a **module** that owns the policy, the credit assigner and the loss; a **data
# module** that collects rollouts with vLLM; and a **Trainer**. One Lightning epoch is one collection. We train the
# treasure hunter until it no longer grabs for the coin in haste, and read what the run logged.

# %%
# %matplotlib inline
import os
import shutil
from functools import partial
from pathlib import Path

import torch
from IPython.display import Markdown, display
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_agentrl import GRPO, ClippedLoss
from lightning_agentrl.callbacks import BeforeAfter, Transcripts
from lightning_agentrl.callbacks.transcripts import markdown
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.engines.vllm import VLLMEngine
from lightning_agentrl.figures.curves import curves
from lightning_agentrl.formats.hermes import HermesFormat
from lightning_agentrl.inspector.scalars import read_scalars
from lightning_agentrl.inspector.session import RolloutSession
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import TinyPolicy
from lightning_agentrl.quiet import quiet
from lightning_agentrl.testing.treasure_hunt import treasure_hunt
from lightning_agentrl.warmstart import WarmStart, warm_start

quiet()
QUICK = bool(os.environ.get("AGENTRL_QUICK"))  # continuous integration sets it: three epochs, and less is claimed

# %%
world = treasure_hunt(Path("runs/data"))
world.prepare()
shape = TinyPolicy(vocab_size=320, hidden_size=64, layers=2, context=384)
policy = warm_start(WarmStart(shape=shape, steps=400, cache="runs/policies"), world.demonstrations, HermesFormat())

# %% [markdown]
# ## Module, data, trainer
#
# Every argument below is a key of the YAML files, too. The command line does the same with
# `agentrl fit -c base -c environment/trl_class`.

# %%
seed_everything(0, verbose=False)
shutil.rmtree("runs/hunt", ignore_errors=True)  # of an earlier execution
before_after = BeforeAfter()
module = AgentRLModule(
    policy=str(policy),
    credit=GRPO(),
    loss=ClippedLoss(),
    optimizer=partial(torch.optim.AdamW, lr=5e-4, betas=(0.9, 0.99), weight_decay=0.0),
)
data = AgentRLDataModule(
    environment=world,
    engine=VLLMEngine(),
    format=HermesFormat(),
    prompts_per_epoch=16,
    group_size=8,
    max_turns=6,
    max_turn_tokens=48,
    max_model_len=384,
)
trainer = Trainer(
    max_epochs=3 if QUICK else 15,
    check_val_every_n_epoch=3,
    num_sanity_val_steps=-1,  # a validation before training: the "before" of before → after
    gradient_clip_val=1.0,
    accelerator="cpu",
    logger=TensorBoardLogger("runs", name="hunt", default_hp_metric=False),
    callbacks=[before_after, Transcripts()],
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    log_every_n_steps=1,
)
trainer.fit(module, data)

# %% [markdown]
# ## Is it learning?
#
# All numbers lie in TensorBoard's files (`tensorboard --logdir runs`). Six of them say whether a run learns:

# %%
scalars = read_scalars(Path(trainer.log_dir))
names = [
    "reward/mean",
    "val/success",
    "rollout/turns",
    "reward/zero_variance_share",
    "policy/entropy",
    "policy/grad_norm",
]
curves({"GRPO": scalars}, names)

# %% [markdown]
# - **`reward/mean`** is what *sampled* rollouts earn, at temperature 1, exploration included. It is noisy: every collection
#   asks other questions. It should rise.
# - **`val/success`** is greedy, on tasks that training never sees. It jumps as soon as the better choice becomes the
#   *likelier* one, long before it is certain; that is why it runs ahead of the reward.
# - **`rollout/turns`** tells the story here: following notes takes longer than grabbing. Where turns grow and the reward
#   does not, length itself is being rewarded.
# - **`reward/zero_variance_share`**: groups that agree with themselves teach nothing. Near 1 there is no gradient left:
#   the tasks are too easy, too hard, or the policy has stopped exploring.
# - **`policy/entropy`**, in nats per token, is small here because most tokens are syntax. What matters is its trend: a
#   slow decline is learning, a plunge to zero is collapse ([notebook 7](07_sick_runs.ipynb)).
# - **`policy/grad_norm`** before clipping. Spikes are rare events; a steady climb is trouble.
#
# ## Is it well?
#
# These should be boring. The engine sampled the rollouts and the trainer differentiates them, two programs that must
# agree about the policy. `policy/parity_gap` compares them on fixed prompts after each hand-over of weights;
# `policy/mismatch_max` on every sampled token. With one optimizer step per collection the ratio of new to old policy is
# exactly 1.

# %%
curves(
    {"GRPO": scalars},
    ["policy/parity_gap", "policy/mismatch_max", "policy/ratio_deviation"],
    logarithmic=["policy/parity_gap", "policy/mismatch_max"],
    bounds={"policy/parity_gap": 1e-4, "policy/mismatch_max": 1e-4},
)

# %% [markdown]
# ## Before and after
#
# The same task, greedily: first the policy that we started from, then the trained one.

# %%
after = data.last["validation"].trajectories
task = next(t.task for t in after if t.task.meta["hops"] == 3 and (t.outcome == 1 or QUICK))
with RolloutSession(policy, world, temperature=0.0) as session:
    then = session.sample([task], group_size=1).trajectories[0]
now = next(t for t in after if t.task.id == task.id)
for trajectory in (then, now):
    display(Markdown(markdown(trajectory, module.tokenizer)))

# %%
start, end = before_after.before["val/success"], before_after.after["val/success"]
reward = [value for _, value in scalars["reward/mean"]]
print(f"greedy success {start:.2f} → {end:.2f}; sampled reward {reward[0]:.2f} → {reward[-1]:.2f}")

assert max(value for _, value in scalars["policy/mismatch_max"]) < 1e-4, "engine and trainer agree on every token"
assert {value for _, value in scalars["policy/ratio_deviation"]} == {0.0}
if QUICK:
    print("three epochs prove nothing about learning")
else:
    assert start < 0.5 < 0.8 < end, "the agent has learnt to follow the notes"
    assert sum(reward[-3:]) / 3 > sum(reward[:3]) / 3 + 0.1, "and sampled rollouts earn more"

# %% [markdown]
# Any other assigner is one argument: `credit=A2TGPO()`. Each has settings that it was published with; `agentrl fit -c base
# -c algorithm/a2tgpo` sets them all. The next notebook replaces the game by one of your own.
