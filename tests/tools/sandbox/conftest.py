"""Makes the tables of hostile programs importable; where the sandbox cannot run at all, its tests are not collected."""

import platform
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if sys.platform != "linux" or platform.machine() != "x86_64":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="package", autouse=True)
def _the_interpreter_survives() -> Iterator[None]:
    """Hostile programs try to empty a module of the standard library; should one succeed, it is put back."""
    module = Path(statistics.__file__)
    before = module.read_bytes()
    yield
    if module.read_bytes() != before:
        module.write_bytes(before)
        pytest.fail(f"a hostile program changed {module}, which was restored", pytrace=False)
