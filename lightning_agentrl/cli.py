"""The ``agentrl`` command: LightningCLI, plus making data, warm-starting, and the quick start."""

from __future__ import annotations

import difflib
import importlib
import itertools
import json
import logging
import os
import pkgutil
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import auto_cli, set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from lightning_agentrl import branching, credit, engines, environments, formats, losses, rewards, tools
from lightning_agentrl.callbacks import (
    BeforeAfter,
    Bundles,
    CreditFigures,
    Dashboard,
    PhaseProgress,
    RunSettings,
    Transcripts,
)
from lightning_agentrl.config_files import config_names, expand, find_config
from lightning_agentrl.credit.base import CreditAssigner
from lightning_agentrl.datamodule import AgentRLDataModule
from lightning_agentrl.environments.make_data import make_data
from lightning_agentrl.inspector.recredit import recredit
from lightning_agentrl.inspector.view import view
from lightning_agentrl.losses.base import PolicyLoss
from lightning_agentrl.module import AgentRLModule
from lightning_agentrl.policy.export import export
from lightning_agentrl.quiet import quiet
from lightning_agentrl.recipes import notice
from lightning_agentrl.rollout.checks import check_checkpoint
from lightning_agentrl.rollout.parity import ParityError
from lightning_agentrl.warmstart import WarmStart, warm_start

for _package in (branching, credit, engines, environments, formats, losses, rewards, tools):
    # An imported class can be chosen by its short name (--model.credit GRPO), and none needs to be listed anywhere.
    for _module in pkgutil.iter_modules(_package.__path__):
        importlib.import_module(f"{_package.__name__}.{_module.name}")

TINY = "tiny"
COMMANDS = ("quickstart", "make-data", "warmstart", "fit", "validate", "recredit", "view", "export")
say = rank_zero_only(logging.getLogger(__name__).info)
USAGE = """usage: agentrl COMMAND [options]

  quickstart          make a world, warm-start a tiny policy, train it with real rollouts, print before → after
  make-data           write one of the built-in worlds: passages, questions, demonstrations
  warmstart -c …      build and warm-start the tiny policy that `model.policy: tiny` stands for
  fit       -c …      train
  validate  -c …      roll out the validation tasks
  recredit RUN …      ask other credit assigners about saved rollouts (--credit A2TGPO --vs GRPO IGPO)
  export …            a checkpoint as a Hugging Face folder (--ckpt FILE --out DIR [--adapter true])
  view RUN …          saved rollouts as one HTML page: every turn, tool call and its credit

-c takes a file or the name of a shipped configuration; several are laid over one another:
  agentrl fit -c base -c environment/made_up_world -c algorithm/grpo
Every option with its help: agentrl fit -c base --print_config

shipped configurations: """


class Parser(LightningArgumentParser):
    """Adds to an error what may be meant."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Name the known credit assigners or losses when an unknown one was asked for."""
        for option, base in {"model.credit": CreditAssigner, "model.loss": PolicyLoss}.items():
            given = re.search(r"import path string: (\S+)", message)
            if f'"{option}"' in message and given:
                known = sorted(cls.__name__ for cls in base.__subclasses__())
                near = difflib.get_close_matches(given[1].rsplit(".", 1)[-1], known, n=1, cutoff=0.3)
                meant = f" Did you mean {near[0]}?" if near else ""
                message = f"{option}: no class {given[1]!r}. Known: {', '.join(known)}.{meant}"
        super().error(message, ex)


class AgentRLCLI(LightningCLI):
    """LightningCLI with our module and data module, our callbacks always on, and one seed."""

    def __init__(self, args: Sequence[str], run: bool = True) -> None:
        """Parse, build, and (with ``run``) execute the subcommand."""
        super().__init__(
            AgentRLModule,
            AgentRLDataModule,
            args=expand(args),
            run=run,
            parser_class=Parser,
            seed_everything_default=0,
            save_config_callback=RunSettings,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"parser_mode": "yaml"},
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """What makes sense with online rollouts."""
        skip = {"model", "train_dataloaders", "val_dataloaders", "datamodule"}
        return {"fit": skip, "validate": (skip | {"dataloaders"}) - {"train_dataloaders", "val_dataloaders"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our callbacks, the warm start, and the links."""
        parser.add_lightning_class_args(PhaseProgress, "progress")
        parser.add_lightning_class_args(Transcripts, "transcripts")
        parser.add_lightning_class_args(BeforeAfter, "before_after")
        parser.add_lightning_class_args(Bundles, "bundles")
        parser.add_lightning_class_args(CreditFigures, "credit_figures")
        parser.add_lightning_class_args(Dashboard, "dashboard")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(ModelCheckpoint, "latest")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/success",
                "checkpoint.mode": "max",
                # Lightning's own `save_last` follows the best checkpoint and stays behind while success does not rise.
                "latest.filename": "last",
                "latest.enable_version_counter": False,
                "latest.save_on_train_epoch_end": True,
                # Saved when validation ends, a checkpoint would lie inside its epoch, and resuming would repeat that.
                "checkpoint.save_on_train_epoch_end": True,
                "checkpoint.filename": "step-{step:06d}-success-{val/success:.3f}",
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        parser.add_class_arguments(WarmStart, "warmstart")
        parser.link_arguments("trainer.check_val_every_n_epoch", "checkpoint.every_n_epochs")
        for target in ("data.seed", "warmstart.seed"):
            parser.link_arguments("seed_everything", target, compute_fn=_seed)

    def before_fit(self) -> None:
        """Say what is missing of a method's recipe, and make the tiny policy if it was asked for."""
        said = notice(self.config["fit"].as_dict(), self.recipe)
        if said is not None:
            say(said)
        self._settle_policy("fit")

    def before_validate(self) -> None:
        """Make the tiny policy if it was asked for."""
        self._settle_policy("validate")

    def recipe(self, name: str) -> dict[str, Any]:
        """All settings of a shipped algorithm, laid over the base."""
        files = [part for layer in ("base", name) for part in ("-c", str(find_config(layer)))]
        parser = self._parser(self.subcommand) if self.subcommand else self.parser
        return dict(parser.parse_args(files).as_dict())

    def _settle_policy(self, stage: str) -> None:
        check_checkpoint(self.trainer, self.config[stage].ckpt_path)
        self.datamodule.environment.prepare()
        self.model.trainer = self.trainer  # it knows the precision
        self.datamodule.check(self.trainer, self.model, stage)  # a cold start takes minutes, so this comes before it
        if self.model.spec.source == TINY:
            self.model.spec = replace(self.model.spec, source=str(self.warm_start()))

    def warm_start(self) -> Path:
        """Folder of the warm-started tiny policy for this configuration."""
        environment = self.datamodule.environment
        environment.prepare()
        if environment.demonstrations is None:
            raise ValueError(
                f"model.policy: tiny needs an environment with demonstrations for its cold start, and "
                f"{type(environment).__name__} has none. Name a Hugging Face folder or hub id instead."
            )
        settings = self._get(self.config_init, "warmstart")
        return warm_start(settings, environment.demonstrations, self.datamodule.format)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``agentrl``; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    quiet()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE + ", ".join(config_names()))  # noqa: T201
        return 0
    try:
        _run(arguments[0], arguments[1:])
    except (ValueError, ImportError, ParityError) as problem:
        # What is wrong is in the message; where it was noticed helps developers only.
        if os.environ.get("AGENTRL_TRACEBACK"):
            raise
        print(f"agentrl: error: {problem}\n(AGENTRL_TRACEBACK=1 shows where)", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _run(command: str, rest: list[str]) -> None:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    if command == "make-data":
        print(auto_cli(make_data, args=rest, as_positional=False))  # noqa: T201
    elif command == "warmstart":
        print(AgentRLCLI(rest, run=False).warm_start())  # noqa: T201
    elif command == "recredit":
        auto_cli(recredit, args=_several(rest, "--vs"))
    elif command == "export":
        print(auto_cli(export, args=rest, as_positional=False))  # noqa: T201
    elif command == "view":
        print(auto_cli(view, args=_several(rest, "--vs")))  # noqa: T201
    elif command == "quickstart":
        AgentRLCLI(["fit", "-c", "base", "-c", "environment/made_up_world", "-c", "quickstart", *rest])
    elif command in AgentRLCLI.subcommands():
        AgentRLCLI([command, *rest])
    else:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        raise ValueError(f"no command {command!r}{f'; did you mean {near[0]}?' if near else '; see agentrl --help'}")


def _several(arguments: Sequence[str], option: str) -> list[str]:
    """The words behind an option as one list, as in ``--vs GRPO IGPO``."""
    if option not in arguments:
        return list(arguments)
    start = arguments.index(option) + 1
    words = list(itertools.takewhile(lambda word: not word.startswith("--"), arguments[start:]))
    return [*arguments[:start], json.dumps(words), *arguments[start + len(words) :]]


def _seed(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        raise ValueError(f"seed_everything must be a number, so that rollouts can be repeated; got {value}.")
    return int(value)


__all__ = ["AgentRLCLI", "Trainer", "main"]
