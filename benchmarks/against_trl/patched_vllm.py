"""What TRL 1.16 needs to train with vLLM on a CPU, where its first weight sync fails.

vLLM's CPU kernels pack the weights of linear layers and drop the originals, so loading one parameter at a time finds
nothing to load into; reloading all of them packs them again. And TRL leaves the engine's precision to vLLM, which takes
bfloat16 for a policy in float32.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any


def patch() -> None:
    """Replace the sync, and have the engine compute in float32."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
    import vllm
    from trl.generation import vllm_generation
    from vllm.config import set_current_vllm_config

    def sync_weights(self: Any) -> None:
        weights = {name: parameter.detach() for name, parameter in self._iter_named_params()}
        with set_current_vllm_config(self.llm.llm_engine.vllm_config):
            arguments = {"weights_iterator": iter(weights.items()), "is_checkpoint_format": True}
            self.llm.collective_rpc("reload_weights", kwargs=arguments)
        self.llm.reset_prefix_cache()

    vllm_generation.LLM = partial(vllm.LLM, dtype="float32", enforce_eager=True)
    vllm_generation.VLLMGeneration.sync_weights = sync_weights
