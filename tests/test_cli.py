"""The command line: swapping, printing, and telling people what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_agentrl.cli import AgentRLCLI, main
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.engines.transformers import TransformersEngine
from lightning_agentrl.environments.search_qa import SearchQA
from lightning_agentrl.losses.clipped import ClippedLoss

BASE = ["-c", "base", "-c", "environment/made_up_world"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["agentrl"])


def test_a_credit_assigner_is_swapped_by_its_short_name() -> None:
    cli = AgentRLCLI([*BASE, "--model.credit", "GRPO", "--model.credit.normalize_std", "false"], run=False)
    assert cli.model.credit == GRPO(normalize_std=False)


def test_a_loss_is_swapped_by_its_short_name() -> None:
    cli = AgentRLCLI([*BASE, "--model.loss", "ClippedLoss", "--model.loss.ratio", "turn"], run=False)
    assert cli.model.objective.loss == ClippedLoss(ratio="turn")


def test_engine_and_environment_are_swapped_by_their_short_names() -> None:
    swap = ["--data.engine", "TransformersEngine", "--data.environment", "SearchQA", "--data.environment.data_dir", "x"]
    cli = AgentRLCLI([*BASE, *swap], run=False)
    assert isinstance(cli.datamodule.collector.engine, TransformersEngine)
    assert isinstance(cli.datamodule.environment, SearchQA)
    assert cli.datamodule.environment.data_dir == Path("x")


def test_the_optimizer_is_configured() -> None:
    cli = AgentRLCLI([*BASE, "--model.optimizer.init_args.lr", "0.5"], run=False)
    optimizer = cli.model._optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["lr"] == 0.5


def test_one_seed_reaches_rollouts_and_warm_start() -> None:
    cli = AgentRLCLI([*BASE, "--seed_everything", "7"], run=False)
    assert cli.datamodule.seed == 7
    assert cli.config_init["warmstart"].seed == 7


def test_print_config_shows_every_option_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *BASE, "--print_config"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for option in ("normalize_std", "clip_high", "prompts_per_epoch", "temperature", "max_bad_rows", "learning_rate"):
        line = shown.index(f"{option}:")
        above = shown[:line].rstrip().splitlines()[-2:]
        assert any(part.lstrip().startswith("#") for part in above), option


def test_an_unknown_assigner_is_answered_with_the_known_and_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *BASE, "--model.credit", "GRP"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no class 'GRP'" in said
    assert "Did you mean GRPO?" in said


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *BASE, "--model.lrr", "3"])
    assert ended.value.code == 2
    assert "lrr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.top_p", "0.9"], "full distribution"),
        (["--data.group_size", "1"], "group_size must be at least 2"),
        (["--model.credit.ddof", "3"], "ddof must be 0"),
        (["--seed_everything", "true"], "seed_everything must be a number"),
        (["--model.credit.lam", "2"], "lam"),
        (["-c", "algorithm/a2tgpo", "--model.loss", "CISPOLoss"], "A2TGPO scales the clip range of each turn"),
        (["--model.credit", "ARPO", "--model.credit.prefix_weight", "one"], "read with credit=hard only"),
        (["-c", "algorithm/a2tgpo", "--model.credit.init_args.normalize", "leave-one-out"], "set rescale to false"),
        (["--model.kl_estimator", "k1"], "k1+ has its value"),
        (["--model.aggregation_constant", "9"], "read with aggregation=constant"),
        (["--model.aggregation", "constant", "--model.aggregation_constant", "0"], "must be positive"),
        (["--model.aggregation_rows", "all"], "sequence-mean or constant only"),
        (["--data.truncated_penalty", "1"], "read with truncated=penalize"),
        (["--data.overlong.limit", "4", "--data.overlong.buffer", "9"], "0 < buffer ≤ limit"),
        (["--data.dynamic_sampling.oversample", "0.5"], "oversample ≥ 1"),
        (["--data.environment.init_args.turn_reward", "0.3"], "Choose MTGRPO or GiGPO"),
        (["--model.credit", "MTGRPO"], "compares rewards of turns, and the environment gives none"),
        (["-c", "algorithm/a2tgpo", "-c", "algorithm/dapo"], "are each a whole method"),
        (["-c", "algorithm/a2tgpo", "--config=configs/algorithm/dapo.yaml"], "are each a whole method"),
        (["--data.overlong.buffer", "9", "--data.overlong.limit", "999"], "a trajectory may say 384"),
        (["--trainer.precision", "bf16-true"], "Use bf16-mixed"),
        (["--model.lora.dropout", "0.1"], "model.lora.dropout must be 0"),
        (["--data.engine.init_args.engine_args", "{dtype: bfloat16}"], "the trainer computes in torch.float32"),
        (["-c", "engine/transformers", "--model.lora.sync", "adapter"], "TransformersEngine takes whole weights only"),
        (["-c", "nowhere"], "No configuration 'nowhere'"),
        (["--model.policy", "./nowhere"], "does not exist"),
        (["--data.environment.init_args.world", "null", "--model.policy", "tiny"], "agentrl make-data"),
    ],
)
def test_bad_settings_end_with_one_clear_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["fit", *BASE, *options])
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = capsys.readouterr().err
    assert status != 0
    assert message in said
    assert "Traceback" not in said


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validat"]) == 1
    assert "did you mean validate" in capsys.readouterr().err


def test_without_a_command_the_usage_names_every_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "algorithm/grpo" in capsys.readouterr().out


def test_make_data_writes_a_world_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--world", "synthetic", "--out", str(tmp_path / "w"), "--questions", "20", "--demonstrations", "10"]
    assert main(["make-data", *options]) == 0
    assert "Wrote" in capsys.readouterr().out
    assert (tmp_path / "w" / "train.jsonl").is_file()


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lightning_agentrl", "--help"], capture_output=True, text=True, check=True
    )
    assert "quickstart" in done.stdout


def test_a_checkpoint_in_parts_is_refused_where_nothing_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *BASE, "--trainer.accelerator", "cpu", "--ckpt_path", str(tmp_path)]) == 1
    assert "a folder with a part per rank, which -c strategy/fsdp2 alone reads" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
