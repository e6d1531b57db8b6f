"""Several ranks: same counts, other shapes, one gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
import unequal_ranks


def test_two_ranks_with_unequal_trees_make_the_step_of_one(policy: str, tmp_path: Path) -> None:
    unequal_ranks.main(policy, tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += [unequal_ranks.__file__, policy, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = torch.load(tmp_path / "1.pt"), torch.load(tmp_path / "2.pt")
    for name, tensor in alone.items():
        assert tensor.norm() > 0, name
        assert (tensor - together[name]).norm() <= 1e-5 * tensor.norm(), name
