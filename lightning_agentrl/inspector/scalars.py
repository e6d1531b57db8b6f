"""The numbers that a run logged to TensorBoard, read back."""

from __future__ import annotations

from pathlib import Path


def read_scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """By name, step and value of each point.

    Args:
        run: folder with TensorBoard's event files, such as ``runs/agentrl/version_0``.

    Raises:
        ValueError: when it holds no event file.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(run.glob("*tfevents*")):
        raise ValueError(f"{run} holds no TensorBoard event file; name the folder of a run, such as …/version_0.")
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})  # 0 keeps every point
    events.Reload()
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in events.Tags()["scalars"]}
