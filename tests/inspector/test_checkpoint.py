"""`--ckpt`: signals that were not saved, and gradients, from the checkpoints of real runs, plain and with LoRA."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_rollouts import save_rollouts
from torch import Tensor

from lightning_agentrl.cli import main
from lightning_agentrl.credit.aem import AEM
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.inspector.recredit import opinions_of
from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.rollout import bundle
from lightning_agentrl.testing import tiny_policy
from lightning_agentrl.types import RolloutBatch

SETTINGS = {
    "data.environment": "lightning_agentrl.testing.ToyEnvironment",
    "data.engine": "lightning_agentrl.engines.transformers.TransformersEngine",
    "data.prompts_per_epoch": 2,
    "data.group_size": 4,
    "data.max_turn_tokens": 6,
    "data.max_model_len": 128,
    "trainer.max_epochs": 1,
    "trainer.accelerator": "cpu",
    "trainer.num_sanity_val_steps": 0,
    "bundles.every_n_epochs": 1,
    "credit_figures.every_n_epochs": 0,
    "transcripts.every_n_epochs": 0,
}
KINDS = {"plain": None, "lora": Lora(r=2)}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def runs(policy: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One finished run of each kind, trained as a user trains."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["agentrl"])
        for number, (kind, lora) in enumerate(KINDS.items()):
            adapters = {} if lora is None else {"model.lora.r": lora.r}
            options = {"model.policy": policy, **SETTINGS, **adapters}
            flat = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
            assert main(["fit", "-c", "base", *flat]) == 0
            found[kind] = folder / "runs" / "agentrl" / f"version_{number}"
    return found


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def trained(kind: str, policy: str, run: Path) -> Any:
    """The policy of a checkpoint, put together by hand."""
    network = PolicySpec(policy, lora=KINDS[kind]).load()
    state = torch.load(last(run), weights_only=True)["state_dict"]
    missing = network.load_state_dict({k.removeprefix("policy."): v for k, v in state.items()}, strict=False)
    assert not missing.unexpected_keys
    return network


def logprobs(network: Any, batch: RolloutBatch, row: int) -> Tensor:
    """Of every next token [T, V], column t speaking of token t, one row at a time."""
    length = int(batch.attention_mask[row].sum())
    logits = network(batch.input_ids[row : row + 1, :length]).logits[0].float()
    return torch.cat([torch.zeros_like(logits[:1]), logits[:-1]]).log_softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_signals_and_gradients_of_a_checkpoint_in_one_command(
    runs: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--credit", "AEM", "--vs", "GRPO", "--ckpt", str(last(runs[kind])), "--out", str(tmp_path)]
    assert main(["recredit", str(runs[kind]), *options]) == 0
    assert "gradient" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "turns.csv").open(encoding="utf-8")))
    assert {row["AEM(GRPO)"] != "" for row in rows} == {True}


@pytest.mark.parametrize("kind", KINDS)
def test_the_signals_are_those_of_the_checkpoint(runs: dict[str, Path], kind: str, policy: str) -> None:
    saved = bundle.load(bundle.find(runs[kind])[-1])
    assert saved.batch.entropies is None
    (opinion,), _ = opinions_of(saved, [AEM()], last(runs[kind]))
    found, network = opinion.batch.entropies, trained(kind, policy, runs[kind])
    assert found is not None
    with torch.no_grad():
        for row in range(len(saved.batch)):
            each = logprobs(network, saved.batch, row)
            entropy = -(each.exp() * each).sum(-1)
            mask = saved.batch.action_mask[row, : len(each)]
            torch.testing.assert_close(found[row, : len(each)][mask], entropy[mask])


@pytest.mark.parametrize("kind", KINDS)
def test_the_cosine_is_that_of_gradients_made_token_by_token(runs: dict[str, Path], kind: str, policy: str) -> None:
    saved = bundle.load(bundle.find(runs[kind])[-1])
    (opinion,), checkpoint = opinions_of(saved, [GRPO()], last(runs[kind]))
    assert checkpoint is not None
    noise = torch.randn(saved.batch.input_ids.shape, generator=torch.Generator().manual_seed(0))
    opinions = [opinion, replace(opinion, label="noise", batch=replace(opinion.batch, advantages=noise))]
    network = trained(kind, policy, runs[kind])
    gradients = []
    for opinion in opinions:
        network.zero_grad()
        loss, advantages = torch.zeros(()), opinion.batch.advantages
        assert advantages is not None
        for row in range(len(saved.batch)):
            each = logprobs(network, saved.batch, row)
            said = each.gather(1, saved.batch.input_ids[row, : len(each), None])[:, 0]
            loss = loss - (said * advantages[row, : len(each)] * saved.batch.action_mask[row, : len(each)]).sum()
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    expected = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    assert checkpoint.cosines(opinions) == {("GRPO", "noise"): pytest.approx(expected, abs=1e-5)}


def test_opposite_credit_has_opposite_gradients(runs: dict[str, Path]) -> None:
    saved = bundle.load(bundle.find(runs["plain"])[-1])
    (opinion,), checkpoint = opinions_of(saved, [GRPO()], last(runs["plain"]))
    assert checkpoint is not None
    assert opinion.batch.advantages is not None
    other = replace(opinion, label="other", batch=replace(opinion.batch, advantages=-opinion.batch.advantages))
    assert checkpoint.cosines([opinion, other]) == {("GRPO", "other"): pytest.approx(-1.0, abs=1e-5)}


def test_rollouts_of_another_step_are_said_to_be_judged_in_retrospect(
    runs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    saved = bundle.load(bundle.find(runs["plain"])[-1])
    with caplog.at_level(logging.INFO, "lightning_agentrl"):
        opinions_of(saved, [GRPO()], last(runs["plain"]))
    assert "The checkpoint is of step 1, the rollouts were sampled at step 0" in caplog.text


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("absent", "no checkpoint of a run of this package"),
        ("garbage", "no checkpoint of a run of this package"),
        ("empty", "no checkpoint of a run of this package"),
        ("foreign", "no checkpoint of a run of this package"),
        ("tensor", "no checkpoint of a run of this package"),
        ("trap", "holds more than tensors and numbers"),
        ("lora", "does not fit this policy"),
    ],
)
def test_a_wrong_checkpoint_is_refused_in_one_line_and_runs_nothing(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, message: str
) -> None:
    path = last(runs["lora"]) if wrong == "lora" else tmp_path / "wrong.ckpt"
    if wrong in ("garbage", "empty"):
        path.write_bytes(b"not a checkpoint" * (wrong == "garbage"))
    made = {"foreign": {"state_dict": {}}, "tensor": torch.zeros(3), "trap": {"agentrl": Trap(tmp_path / "sprung")}}
    if wrong in made:
        torch.save(made[wrong], path)
    assert main(["recredit", str(runs["plain"]), "--credit", "AEM", "--ckpt", str(path)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "weights_only" not in said
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_without_adapters_is_refused_by_a_run_with_them(runs: dict[str, Path]) -> None:
    saved = bundle.load(bundle.find(runs["lora"])[-1])
    with pytest.raises(ValueError, match="does not fit this policy"):
        opinions_of(saved, [AEM()], last(runs["plain"]))


def test_a_bundle_without_a_configuration_is_refused_before_the_checkpoint_is_read(tmp_path: Path) -> None:
    saved = bundle.load(save_rollouts(tmp_path))
    with pytest.raises(ValueError, match="holds no configuration"):
        opinions_of(saved, [AEM()], tmp_path / "absent.ckpt")
