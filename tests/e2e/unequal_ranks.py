"""Runs under torchrun: three steps of SGD on rollouts that ranks share out unevenly, and what came of each of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from helpers import module, trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedModel

from lightning_agentrl.credit.arpo import ARPO
from lightning_agentrl.engines.base import Completion
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy import Lora
from lightning_agentrl.rollout.parity import ParityCheck, ParityError
from lightning_agentrl.scoring.ranks import whole
from lightning_agentrl.strategies import FSDP2Strategy
from lightning_agentrl.testing import ScriptedEngine, rollouts, tiny_policy
from lightning_agentrl.types import RolloutBatch, Signal

STEPS = 3
RANKS, RANK = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


@dataclass(frozen=True)
class Case:
    """What is trained, and how it is cut."""

    policy: str = "qwen3"
    accumulate: int = 1
    """Micro-batches of a rank; one rank alone takes as many for each rank."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the module."""
    resumes: bool = False
    """Whether the steps follow those of one rank, whose checkpoint is taken up."""
    idle: bool = False
    """Whether the rows of the first rank earn nothing, and so have nothing to compute."""
    prompts: int = 2
    """Dealt out to the ranks."""
    rate: float = 0.1
    """Of learning; where gradients are steep, steps that are too long magnify what rounding does."""

    def strategies(self, ranks: int) -> list[str]:
        """Names of those that so many ranks train it under."""
        if ranks == 1:
            return ["one"]
        if ranks > self.prompts:
            return []
        whole = [] if ranks == 4 or self.policy in SLICED else ["ddp", "fsdp2"]
        return [*whole, *([] if self.policy == "gpt2" or "lora" in self.options else ["fsdp2_tp"])]


SLICED = ("qwen2", "gemma3", "phi3", "olmo2", "uneven")
"""Architectures that differ in how layers are sliced, and are trained for that alone."""
CASES = {
    "trees": Case(),
    "trees_in_several_forwards": Case(options={"max_tokens": 40}),  # one on the first rank, more on the second
    "accumulation": Case(accumulate=2, options={"max_tokens": 40}),
    "padded_rows": Case("gpt2"),
    "padded_rows_in_several_forwards": Case("gpt2", options={"max_tokens": 40}),
    "idle_rank": Case(idle=True, options={"max_tokens": 40}),
    "reference": Case(options={"kl_coefficient": 0.5, "max_tokens": 40}),
    "lora": Case(options={"lora": Lora(r=4, alpha=8), "kl_coefficient": 0.5, "max_tokens": 40}),
    "tied": Case("tied", options={"max_tokens": 40}),
    "resumed": Case("tied", resumes=True, rate=0.02),
    "resumed_lora": Case(options={"lora": Lora(r=4, alpha=8)}, resumes=True),
    "checkpointing": Case(options={"gradient_checkpointing": True, "max_tokens": 40}),
    **{name: Case(name, rate=0.02, options={"max_tokens": 40, "float32_head": name == "uneven"}) for name in SLICED},
    "four_prompts": Case("tied", prompts=4, options={"kl_coefficient": 0.5, "max_tokens": 40}),
}


def trees(idle: bool, seed: int = 0) -> list[RolloutBatch]:
    """One prompt with two rollouts, and one with six of which four are branches, several turns each."""
    small = rollouts([[3], [2]], rewards=[1, 1 if idle else 0], groups=[0, 0])
    turns = [[3, 2], [4, 1], [3, 6], [3, 2, 5], [4, 7], [3, 6, 2]]
    large = rollouts(
        turns, [1, 0, 0.5, 0, 1, 0.2], groups=[1] * 6, parents=[-1, -1, 0, 0, 1, 2], inherited=[0, 0, 6, 8, 7, 7]
    )
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randint(5, 200, large.input_ids.shape, generator=generator)
    ids = torch.where(torch.arange(large.input_ids.shape[1]) >= 8, noisy, large.input_ids)
    return [small, replace(large, input_ids=ids)]


class Rows(IterableDataset[RolloutBatch]):
    """What a data module would do with rows: old log-probs, credit, weights, micro-batches."""

    def __init__(self, learner: AgentRLModule, case: Case) -> None:
        self.learner, self.case = learner, case
        prompts = [prompt for seed in range(case.prompts // 2) for prompt in trees(case.idle, seed)]
        self.batches = prompts[RANK::RANKS]

    def __len__(self) -> int:
        return STEPS * self.case.accumulate * len(self.batches)

    def __iter__(self) -> Iterator[RolloutBatch]:
        signals = self.learner.requires | Signal.OLD_LOGPROBS
        micros = []
        for batch in self.batches:
            credited = self.learner.assign(self.learner.score(batch, signals))
            micros += [credited.select(rows) for rows in torch.arange(len(credited)).chunk(self.case.accumulate)]
        for step in self.learner.weigh([micros] * STEPS, longest=10):
            yield from step


class Keep(Callback):
    """Holds the gradients that the optimizer is about to use, and in the end loss and weights."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"gradients": []}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        parameters = pl_module.named_parameters()
        self.found["gradients"].append({name: whole(p.grad).clone() for name, p in parameters if p.grad is not None})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AgentRLModule)
        self.found["weights"] = {name: tensor.clone() for name, tensor in pl_module.weights()}
        self.found["loss"] = trainer.callback_metrics["policy/loss"]
        self.found["norm"] = trainer.callback_metrics["policy/grad_norm"]
        held = [pl_module.network, *([pl_module._reference.copy] if pl_module._reference.copy else [])]
        self.found["whole"] = [n for net in held for n, p in net.named_parameters() if not isinstance(p, DTensor)]


STRATEGIES: dict[str, Callable[[], Any]] = {
    "one": lambda: "auto",
    "ddp": lambda: DDPStrategy(gradient_as_bucket_view=True),
    "fsdp2": FSDP2Strategy,
    "fsdp2_tp": lambda: FSDP2Strategy(tensor_parallel_size=2),
}


def made(kind: str, **settings: Any) -> PreTrainedModel:
    """A random policy of another architecture, with attention that is not all alike."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "initializer_range": 0.1}
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**{"vocab_size": 512, "pad_token_id": 0} | heads | shape | settings)
    network: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def gpt2() -> PreTrainedModel:
    """A policy without rotary positions, which cannot do prefix trees."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    return transformers.GPT2LMHeadModel(config)


OTHERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": gpt2,
    "qwen2": lambda: made("Qwen2Config", tie_word_embeddings=False),  # biases
    "gemma3": lambda: made("Gemma3TextConfig", sliding_window=8, final_logit_softcapping=5.0),  # scales embeddings
    "uneven": lambda: made("Qwen3Config", vocab_size=513, tie_word_embeddings=True),
    "phi3": lambda: made("Phi3Config"),  # one layer for queries, keys and values
    "olmo2": lambda: made("Olmo2Config"),  # norms over all heads
}


def policies(out: Path) -> dict[str, str]:
    """Folders of this rank, by the names that cases know them by."""
    here = out / f"policies-{RANKS}-{RANK}"
    found = {
        "qwen3": tiny_policy(here / "qwen3", hidden_size=128),
        "tied": tiny_policy(here / "tied", hidden_size=128, tied=True),
    }
    for name, make in OTHERS.items():
        make().save_pretrained(here / name)
        found[name] = str(here / name)
    return found


def train(policy: str, case: Case, out: Path, strategy: Any, epochs: int = 1, ckpt: Path | None = None) -> Any:
    """Train on this rank's share; the trainer, and what was kept."""
    keep = Keep()
    learner = module(
        policy,
        credit=ARPO(),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=case.rate, momentum=0.9 * case.resumes),
        **case.options,
    )
    rows = Rows(learner, case)
    runner = trainer(
        out,
        keep,
        max_epochs=epochs,
        accumulate_grad_batches=case.accumulate * len(rows.batches),
        use_distributed_sampler=False,
        strategy=strategy,
        devices=RANKS,
    )
    runner.fit(learner, DataLoader(rows, batch_size=None), ckpt_path=ckpt)
    return runner, keep.found


class Certain:
    """A learner to which every token has log-prob −1."""

    temperature, policy_dtype, policy_config = 0.5, torch.float32, None

    def score(self, batch: RolloutBatch, signals: Signal, temperature: float | None = None) -> RolloutBatch:
        return replace(batch, old_logprobs=-batch.action_mask.float())


def parity() -> str:
    """What is said where the engine of the second rank is a nat off for the second prompt, and that of no other."""
    check = ParityCheck(ScriptedEngine(lambda ids, params: []), Certain(), [[1], [2], [3]], tolerance=1e-4)  # type: ignore[arg-type]
    try:
        check.compare([Completion((5,), (-1.0 - RANK * (prompt == 1),), "length") for prompt in range(3)])
    except ParityError as error:
        return str(error)
    return ""


def main(out: Path) -> None:
    """Train each case."""
    folders = policies(out)
    for name, case in CASES.items():
        before = out / f"{name}.ckpt" if case.resumes else None
        if before and RANKS == 1:
            train(folders[case.policy], case, out, "auto")[0].save_checkpoint(before)
        for kind in case.strategies(RANKS):
            _, found = train(folders[case.policy], case, out, STRATEGIES[kind](), 2 if before else 1, before)
            if RANK == 0:
                torch.save(found, out / f"{name}-{kind}-{RANKS}.pt")
    if RANKS == 2:
        (out / f"parity-{RANK}.txt").write_text(parity())
        # Last, since what was begun is not ended.
        other = Case(options={"lora": Lora(r=4, alpha=8, targets=("q_proj",))}, resumes=True)
        try:
            train(folders["qwen3"], other, out, FSDP2Strategy(), 2, out / "resumed_lora.ckpt")
        except ValueError as error:
            (out / f"refusal-{RANK}.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
