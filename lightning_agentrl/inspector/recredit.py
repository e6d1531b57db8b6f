"""Other credit assigners on saved rollouts (`agentrl recredit`)."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.credit.grpo import GRPO
from lightning_agentrl.figures.canvas import save
from lightning_agentrl.inspector.checkpoint import Checkpoint
from lightning_agentrl.inspector.figures import compare
from lightning_agentrl.inspector.opinions import Opinion, agreements, ask, missing
from lightning_agentrl.inspector.tables import comparison, examples, summary, write_csv
from lightning_agentrl.rollout import bundle
from lightning_agentrl.rollout.bundle import Bundle
from lightning_agentrl.types import Signal

log = logging.getLogger(__name__)


def recredit(
    run: Path,
    credit: CreditAssigner = GRPO(),  # noqa: B008 - frozen
    vs: list[CreditAssigner] = [],  # noqa: B006 - never changed
    epoch: int | None = None,
    ckpt: Path | None = None,
    out: Path | None = None,
    show: int = 2,
) -> None:
    """Ask credit assigners about saved rollouts and compare what they say, turn by turn.

    Args:
        run: folder of a run, or of one saved collection.
        credit: an assigner.
        vs: those to compare it with.
        epoch: which collection of the run; the last one by default.
        ckpt: checkpoint of the run; computes signals that were not saved, and adds the cosine between gradients.
        out: folder for turns.csv and comparison.png; ``recredit`` beside the collection by default.
        show: how many rollouts to print turn by turn, those on which the assigners differ most.
    """
    saved = chosen(run, epoch)
    opinions, checkpoint = opinions_of(saved, [credit, *vs], ckpt)
    pairs = agreements(opinions)
    cosines = checkpoint.cosines(opinions) if checkpoint else {}
    folder = out or saved.folder / "recredit"
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "turns.csv", saved.records, opinions)
    written = [folder / "turns.csv"]
    if importlib.util.find_spec("matplotlib") is None:
        log.info("Without matplotlib there is no picture: pip install lightning-agentrl[viz].")
    else:
        written.append(folder / "comparison.png")
        save(compare(saved.records, opinions), written[-1])
    console = Console(highlight=False)
    console.print(f"{len(saved.records)} rollouts of epoch {saved.meta['epoch']}, {saved.folder}", soft_wrap=True)
    console.print(summary(opinions), comparison(pairs, cosines), examples(saved.records, opinions, show))
    console.print(f"Every turn: {' and '.join(map(str, written))}", soft_wrap=True)


def chosen(run: Path, epoch: int | None) -> Bundle:
    """One of the saved collections of a run.

    Raises:
        ValueError: when there is none, or none of that epoch; names the epochs that there are.
    """
    folders = bundle.find(run)
    if epoch is None:
        return bundle.load(folders[-1])
    epochs = {bundle.read_meta(folder)["epoch"]: folder for folder in reversed(folders)}
    if epoch in epochs:
        return bundle.load(epochs[epoch])
    known = ", ".join(map(str, sorted(epochs)))
    raise ValueError(f"No rollouts of epoch {epoch} were saved below {run}, only of {known}.")


def opinions_of(
    saved: Bundle, assigners: Sequence[CreditAssigner], ckpt: Path | None
) -> tuple[list[Opinion], Checkpoint | None]:
    """What the assigners say, with signals that were not saved computed by a checkpoint, if there is one.

    Raises:
        ValueError: when a signal is missing and there is no checkpoint: names the signal, who needs it, and what to do.
    """
    lacking = {type(assigner).__name__: missing(assigner, saved.batch) for assigner in assigners}
    lacking = {name: signals for name, signals in lacking.items() if signals}
    if ckpt is None:
        if lacking:
            needs = "; ".join(f"{name} needs {', '.join(signals.field_names)}" for name, signals in lacking.items())
            raise ValueError(
                f"{needs}, which {saved.folder} does not hold. Compute them with --ckpt CHECKPOINT, or have them saved "
                f"in the next run with bundles.save_signals."
            )
        return ask(saved.batch, assigners), None
    checkpoint = Checkpoint(ckpt, saved)
    if checkpoint.step != saved.meta["policy_version"]:
        log.info(
            f"The checkpoint is of step {checkpoint.step}, the rollouts were sampled at step "
            f"{saved.meta['policy_version']}: signals are its opinion in retrospect."
        )
    union = Signal.NONE
    for signals in lacking.values():
        union |= signals
    batch = checkpoint.fill(union) if union else saved.batch
    return ask(replace(batch), assigners), checkpoint
