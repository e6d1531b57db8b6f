"""Loading a policy: what is switched off, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_agentrl.policy import load_config
from lightning_agentrl.testing import tiny_policy


def test_dropout_is_switched_off_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    folder = tiny_policy(tmp_path)
    config = load_config(folder)
    config.attention_dropout = 0.5
    config.save_pretrained(folder)
    assert load_config(folder).attention_dropout == 0.0


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_policy_folder_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_config(source)


def test_a_folder_without_a_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_config(str(tmp_path))
