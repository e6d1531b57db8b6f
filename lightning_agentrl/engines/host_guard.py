"""Keeps an inference engine that lives in the trainer's process from changing the trainer's global state.

What stays changed with vLLM on a CPU, and matters to nobody there: `torch.Event`, `torch.cuda.Event` and `.Stream`, and
`Tensor.pin_memory` are stubs, memory is bound to one NUMA node, and `gc.freeze` has run.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the states of `random`, NumPy's and torch's global generators afterwards."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Restore `os.environ` afterwards: what vLLM writes (LD_PRELOAD, LOCAL_WORLD_SIZE) would reach tool processes."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextlib.contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Restore the number of threads, the function that sets it, and the float32 matmul precision."""
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


@contextlib.contextmanager
def process_group_lent() -> Iterator[None]:
    """Have a default process group inside, and afterwards have one only if there was one before.

    An engine of one rank needs its group while it is built and never again; left behind, it would make the trainer
    believe that it is distributed.
    """
    if dist.is_initialized():
        yield
        return
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def process_group_kept() -> Iterator[None]:
    """Inside, the default process group cannot be destroyed, and destroying a group that is gone does nothing."""
    destroy: Callable[..., None] = dist.destroy_process_group

    def destroy_others(group: Any = None) -> None:
        if group is None or group is dist.group.WORLD:
            return
        with contextlib.suppress(ValueError):  # destroyed together with the lent default group
            destroy(group)

    dist.destroy_process_group = destroy_others
    try:
        yield
    finally:
        dist.destroy_process_group = destroy


class PrivateRandomness(TorchFunctionMode):
    """On this thread, draws that name no generator come from a private one.

    vLLM's CPU sampler draws from the global generator at every step, even for seeded requests. The mode is
    thread-local, so unlike saving and restoring the state it cannot race with draws on the trainer's thread. It slows
    every torch call inside, hence `around` one module and not around a whole step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def around(self, module: torch.nn.Module) -> None:
        """Be active during every call of ``module``, from now on."""

        def enter(*_: Any) -> None:
            self.__enter__()  # type: ignore[no-untyped-call]

        def leave(*_: Any) -> None:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave, always_call=True)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Add the private generator to the factories that the sampler uses on a CPU."""
        kwargs = dict(kwargs or {})
        if func in _RANDOM_FACTORIES and kwargs.get("generator") is None:
            kwargs["generator"] = self._generator
        return func(*args, **kwargs)


_RANDOM_FACTORIES = frozenset({torch.randint, torch.rand, torch.randn, torch.randperm})
