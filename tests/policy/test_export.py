"""Exported policies: what `from_pretrained` reads is what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.distributed import checkpoint as sharded
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from lightning_agentrl.cli import main
from lightning_agentrl.policy import Lora, PolicySpec
from lightning_agentrl.policy.export import META, export
from lightning_agentrl.policy.lora import is_adapter
from lightning_agentrl.testing import tiny_policy

IDS = torch.arange(24).reshape(2, 12)


@pytest.fixture(scope="module", params=[False, True], ids=["two heads", "tied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tiny_policy(tmp_path_factory.mktemp("policy"), tied=request.param)
    greedy = GenerationConfig(max_new_tokens=17, do_sample=False, temperature=0.6)  # which save_pretrained refuses
    greedy.to_json_file(Path(made) / "generation_config.json")
    config = json.loads((Path(made) / "config.json").read_text())
    (Path(made) / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.25}))
    return made


def trained(spec: PolicySpec) -> Any:
    """The policy, every trained number moved."""
    network = spec.load()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return network


def saved(spec: PolicySpec, network: Any, path: Path, shards: bool = False) -> Path:
    """As Lightning writes a checkpoint of our module; with ``shards`` as its model-parallel strategy does."""
    state = spec.trained({f"policy.{name}": tensor for name, tensor in network.state_dict().items()})
    rest = {"agentrl": spec.description, "optimizer_states": []}
    if shards:
        path.mkdir()
        sharded.save({"state_dict": state, "optimizer_0": {"x": torch.zeros(3)}}, checkpoint_id=path, no_dist=True)
        torch.save(rest, path / META)
    else:
        torch.save({**rest, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("shards", [False, True], ids=["file", "shards"])
@pytest.mark.parametrize("lora", [None, Lora(r=3), Lora(targets=("q_proj",))], ids=["plain", "all", "one"])
def test_an_exported_policy_has_equal_logits(folder: str, tmp_path: Path, lora: Lora | None, shards: bool) -> None:
    spec = PolicySpec(folder, lora=lora)
    network = trained(spec)
    export(saved(spec, network, tmp_path / "x.ckpt", shards), tmp_path / "out")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    torch.testing.assert_close(found(IDS).logits, network(IDS).logits)
    assert (found(IDS).logits - AutoModelForCausalLM.from_pretrained(folder)(IDS).logits).abs().max() > 0.1


def test_tokenizer_chat_template_generation_and_settings_come_along(folder: str, tmp_path: Path) -> None:
    spec = PolicySpec(folder)
    export(saved(spec, trained(spec), tmp_path / "x.ckpt"), tmp_path / "out")
    tokenizers = [AutoTokenizer.from_pretrained(source) for source in (folder, tmp_path / "out")]
    said = [{"role": "user", "content": "go on"}]
    assert tokenizers[0].apply_chat_template(said) == tokenizers[1].apply_chat_template(said)
    generation = GenerationConfig.from_pretrained(tmp_path / "out")
    assert (generation.max_new_tokens, generation.do_sample, generation.temperature) == (17, False, 0.6)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["attention_dropout"] == 0.25
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert list((tmp_path / "out").glob("*.safetensors"))


def test_exported_adapters_give_equal_logits_in_peft(folder: str, tmp_path: Path) -> None:
    spec = PolicySpec(folder, lora=Lora(r=3, alpha=5))
    network = trained(spec)
    export(saved(spec, network, tmp_path / "x.ckpt"), tmp_path / "out", adapter=True)
    assert not list((tmp_path / "out").glob("model*.safetensors"))
    found = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "out")
    torch.testing.assert_close(found(IDS).logits, network(IDS).logits)
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == str(Path(folder).resolve())


def test_weights_are_written_in_the_type_that_is_asked_for(folder: str, tmp_path: Path) -> None:
    spec = PolicySpec(folder, lora=Lora())
    export(saved(spec, trained(spec), tmp_path / "x.ckpt"), tmp_path / "out", dtype="bfloat16")
    assert {p.dtype for p in AutoModelForCausalLM.from_pretrained(tmp_path / "out").parameters()} == {torch.bfloat16}


def test_the_base_may_have_moved(folder: str, tmp_path: Path) -> None:
    spec = PolicySpec(folder, lora=Lora())
    network = trained(spec)
    path = saved(replace(spec, source=str(tmp_path / "gone")), network, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="gone, which does not exist"):
        export(path, tmp_path / "out")
    export(path, tmp_path / "out", policy=folder)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(tmp_path / "out")(IDS).logits, network(IDS).logits)


def test_what_is_no_checkpoint_or_would_overwrite_is_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = PolicySpec(folder)
    path = saved(spec, trained(spec), tmp_path / "x.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for options, message in (
        (["--ckpt", str(path), "--out", folder], "not an empty folder"),
        (["--ckpt", str(path), "--out", str(tmp_path / "o"), "--adapter", "true"], "trained without model.lora"),
        (["--ckpt", str(tmp_path / "other.ckpt"), "--out", str(tmp_path / "o")], "no checkpoint of a run of this"),
        (["--ckpt", str(tmp_path), "--out", str(tmp_path / "o")], "no checkpoint of a run of this"),
        (["--ckpt", str(tmp_path / "nowhere"), "--out", str(tmp_path / "o")], "no checkpoint of a run of this"),
    ):
        assert main(["export", *options]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_adapters_of_another_shape_are_refused(folder: str, tmp_path: Path) -> None:
    spec = PolicySpec(folder, lora=Lora(r=3))
    network = trained(spec)
    wrong = saved(spec, network, tmp_path / "x.ckpt")
    content = torch.load(wrong, weights_only=True)
    content["agentrl"]["lora"]["r"] = 4
    torch.save(content, wrong)
    assert all(is_adapter(name) for name in content["state_dict"])
    with pytest.raises(ValueError, match="does not fit this policy"):
        export(wrong, tmp_path / "out")
