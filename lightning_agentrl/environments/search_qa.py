"""Multi-hop questions over a corpus of passages or pages, with a search tool and maybe one that opens pages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from lightning_agentrl.data.layouts import LayoutName
from lightning_agentrl.environments.base import Environment, Episode, Split
from lightning_agentrl.environments.make_data import WorldName, make_data
from lightning_agentrl.environments.questions import check_tools, read_tasks, reward_for_finding
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules
from lightning_agentrl.rewards.base import Rewards
from lightning_agentrl.rewards.exact_match import ExactMatch
from lightning_agentrl.tools.base import Tool, ToolLimits
from lightning_agentrl.tools.fetch import FetchTool
from lightning_agentrl.tools.retrieval import BM25, PageFile, Pages, Retriever, ServedBM25
from lightning_agentrl.tools.search import SearchTool, Show
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Task, Turn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchQA(Environment):
    """Answers questions by searching; the outcome is how well the answer agrees with an accepted one."""

    data_dir: Path | None = None
    """Folder with corpus.jsonl, train.jsonl and validation.jsonl, as `agentrl make-data` writes it."""
    world: WorldName | None = None
    """Built-in world to write to data_dir before the first use; none reads what is there."""
    corpus: Path | None = None
    """Passages; overrides the one in data_dir. JSON lines (also .gz), a JSON array or Parquet, with id and contents."""
    train: Path | None = None
    """Training questions; override those in data_dir. Such a file, or a folder that `datasets` saved."""
    validation: Path | None = None
    """Validation questions; override those in data_dir."""
    layout: LayoutName = "auto"
    """Which keys hold question and answers; auto finds out by the keys of the first rows."""
    retriever: Retriever | None = None
    """What to search with, such as HTTPRetriever; none searches the corpus with BM25."""
    serve: bool = False
    """Whether BM25 runs in a server process of its own, which the run starts and ends."""
    top_k: int = 3
    """Passages per search result, at least 1."""
    show: Show = "passages"
    """Whole passages, or a line of each, which is what `fetch` is for."""
    snippet_characters: int = 200
    """How much of a passage such a line shows; the world of pages is demonstrated with 0, titles alone."""
    fetch: bool = False
    """Whether a second tool opens passages of the corpus, whole pages then, by their id."""
    pages: Pages | None = None
    """Where fetch finds pages, such as PageServer; none takes the corpus."""
    page_characters: int = 4000
    """How much of a page fetch shows at once."""
    system_prompt: str | None = None
    """System message before each question; none by default."""
    reward: Rewards = field(default_factory=lambda: Rewards(ExactMatch()))
    """The verdict: outcome, bonuses and gates."""
    answer_template: str = "<answer> {answer} </answer>"
    """How the policy writes its answer, {answer} in its place; information gain scores the ground truth there."""
    turn_reward: float = 0.0
    """Process reward of a turn whose search result holds an accepted answer; 0 gives none."""
    invalid_call_penalty: float = 0.0
    """Penalty of a turn with a malformed call, an unknown tool or wrong arguments; at least 0."""
    max_train_tasks: int | None = None
    """Use only the first so many training questions."""
    max_validation_tasks: int | None = None
    """Use only the first so many validation questions."""
    max_bad_rows: int = 10
    """Rows of a file that may be unusable; they are skipped with a warning."""
    limits: ToolLimits = field(default_factory=ToolLimits)
    """What a search may cost."""

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}.")
        if self.invalid_call_penalty < 0:
            raise ValueError(f"invalid_call_penalty must not be negative, got {self.invalid_call_penalty}.")
        needed = {"train": self.train, "validation": self.validation}
        needed |= {"corpus": self.corpus} if self._reads_corpus else {}
        if self.data_dir is None and None in needed.values():
            raise ValueError(f"SearchQA needs data_dir, or each of {', '.join(needed)}.")
        if self.world is not None and self.data_dir is None:
            raise ValueError(f"SearchQA writes world={self.world} to data_dir, which is not set.")
        if self.serve and self.retriever is not None:
            raise ValueError("SearchQA serves its corpus or asks the retriever, not both; set serve or retriever.")

    @property
    def tools(self) -> Sequence[Tool]:
        """The search tool, and the one that opens pages."""
        return (self._search, self._fetch) if self.fetch else (self._search,)

    @property
    def gives_turn_rewards(self) -> bool:
        """Where one of the two settings is not 0."""
        return bool(self.turn_reward or self.invalid_call_penalty)

    @property
    def demonstrations(self) -> Path | None:
        """Those that a built-in world comes with."""
        path = self.data_dir / "demonstrations.jsonl" if self.data_dir else None
        return path if path and path.is_file() else None

    def prepare(self) -> None:
        """Write the built-in world if one is named; then check that files and servers can be used."""
        if self.world is not None and self.data_dir is not None:
            log.info(make_data(self.world, self.data_dir, top_k=self.top_k))
        self.tasks("train")
        self.tasks("validation")
        check_tools(tuple(self._toolbox.tools.values()))  # what it starts, `close` ends

    def tasks(self, split: Split) -> Sequence[Task]:
        """Questions in the order of their file."""
        return self._train_tasks if split == "train" else self._validation_tasks

    async def open(self, task: Task, seed: int) -> Episode:
        """Start an episode; a search has no state and no chance, so the seed does not matter."""
        rules = ToolRules(reward_for_finding(task, self.turn_reward), self.invalid_call_penalty)
        return ToolEpisode(self._toolbox, self.reward, group=(task.id, seed), rules=rules)

    async def resume(self, task: Task, seed: int, turns: Sequence[Turn]) -> Episode:
        """A fresh episode: searching leaves no state behind, so nothing has to be replayed."""
        return await self.open(task, seed)

    def close(self) -> None:
        """Close tools and rewards."""
        if "_toolbox" in vars(self):
            self._toolbox.close()
        self.reward.close()

    @property
    def _reads_corpus(self) -> bool:
        return self.retriever is None or (self.fetch and self.pages is None)

    @cached_property
    def _toolbox(self) -> Toolbox:
        return Toolbox(self.tools)

    @cached_property
    def _search(self) -> SearchTool:
        found = self.retriever
        if found is None:
            kind = ServedBM25 if self.serve else BM25
            found = kind(self._path("corpus"), max_bad_rows=self.max_bad_rows)
        return SearchTool(found, self.top_k, self.show, self.snippet_characters, limits=self.limits)

    @cached_property
    def _fetch(self) -> FetchTool:
        pages = self.pages or PageFile(self._path("corpus"), max_bad_rows=self.max_bad_rows)
        return FetchTool(pages, self.page_characters)

    @cached_property
    def _train_tasks(self) -> tuple[Task, ...]:
        return self._read("train", self.max_train_tasks)

    @cached_property
    def _validation_tasks(self) -> tuple[Task, ...]:
        return self._read("validation", self.max_validation_tasks)

    def _read(self, split: Split, limit: int | None) -> tuple[Task, ...]:
        path, layout = self._path(split), self.layout
        return read_tasks(
            path, layout=layout, system_prompt=self.system_prompt, limit=limit, max_bad_rows=self.max_bad_rows
        )

    def _path(self, name: Literal["corpus", "train", "validation"]) -> Path:
        """Where a file is. A missing one is an error of the configuration, hence a ValueError."""
        explicit = {"corpus": self.corpus, "train": self.train, "validation": self.validation}[name]
        path = explicit or Path(self.data_dir or ".") / f"{name}.jsonl"
        if not path.exists():
            raise ValueError(
                f"SearchQA found no {name} file at {path}. Write a built-in world with "
                f"`agentrl make-data --world synthetic --out {path.parent}`, or point data_dir or {name} at your own."
            )
        return path
