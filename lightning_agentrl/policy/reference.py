"""The policy as a run started from it, to which a KL is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lightning_agentrl.policy.lora import adapters_off
from lightning_agentrl.policy.spec import PolicySpec
from lightning_agentrl.scoring.ranks import share_out

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from transformers import PreTrainedModel


class Reference:
    """With LoRA the policy without its adapters; else a frozen copy, loaded when it is first asked for.

    The copy is no submodule of anything, so that neither optimizer nor checkpoint holds it.
    """

    def __init__(self) -> None:
        self.copy: PreTrainedModel | None = None

    @contextmanager
    def of(
        self, spec: PolicySpec, policy: PreTrainedModel, mesh: DeviceMesh | None = None
    ) -> Iterator[PreTrainedModel]:
        """A block with the reference of a policy that was made by the spec; the policy rests in it.

        Ranks of a mesh hold a part of the copy each, as they do of the policy.
        """
        if spec.lora is not None:
            with adapters_off(policy):
                yield policy
            return
        if self.copy is None:
            frozen = spec.load_base().requires_grad_(False)
            # Parts go to the device layer by layer: all of it might not fit there.
            self.copy = share_out(frozen, mesh) if mesh else frozen.to(policy.device)  # type: ignore[arg-type]
        yield self.copy
