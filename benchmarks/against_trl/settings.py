"""What the sides have in common wherever they run: nothing that costs time and is not training."""

from __future__ import annotations

from typing import Any

AGENTRL: dict[str, Any] = {
    "accelerator": "cpu",
    "gradient_clip_val": 1.0,
    "limit_val_batches": 0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Of Lightning's Trainer."""
TRL: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "gradient_checkpointing": False,  # on by default, and slower
    "model_init_kwargs": {"dtype": "float32"},
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "beta": 0.0,
    "num_iterations": 1,
    "loss_type": "dapo",
    "scale_rewards": "group",
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch_fused",
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "dataloader_num_workers": 0,
}
"""Of GRPOConfig: its fastest on a CPU."""
