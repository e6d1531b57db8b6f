"""One attempt at a repository: tool calls until the policy says that it is done, then a verdict on the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning_agentrl.data.repair_tasks import Repository
from lightning_agentrl.environments.base import Episode, Observation
from lightning_agentrl.environments.repair.judging import judge
from lightning_agentrl.environments.repair.workspace import Workspace
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules, state_key
from lightning_agentrl.tools.sandbox import Sandbox
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Action, Reward, Trajectory, Turn


class RepairEpisode(Episode):
    """The state are the files; the tools change them, and the verdict is on what they are in the end."""

    def __init__(self, repository: Repository, workspace: Workspace, sandbox: Sandbox, rules: ToolRules) -> None:
        self._repository = repository
        self._workspace = workspace
        self._sandbox = sandbox
        self._rules = rules
        # Results are not shared within the group: they depend on the files of this episode.
        self._calls = ToolEpisode(Toolbox(workspace.tools), self._judge, rules=rules)

    async def step(self, action: Action) -> Observation:
        """Run the calls of a turn; a turn without any ends the episode."""
        heard = await self._calls.step(action)
        if heard.done:
            return heard
        files = (part for file in sorted(self._workspace.files.items()) for part in file)
        return replace(heard, state_key=state_key((*heard.results, *files)))

    async def reward(self, trajectory: Trajectory) -> Reward:
        """1 if every case holds, however the trajectory ended; what limits cut is left out of the loss elsewhere."""
        return await self._judge(trajectory)

    async def fork(self) -> Episode:
        """An attempt that goes on from the same files."""
        return RepairEpisode(self._repository, self._workspace.copy(), self._sandbox, self._rules)

    async def repeat(self, turns: Sequence[Turn]) -> None:
        """Do again what turns did to the files; nothing else they did left a trace."""
        for turn in turns:
            for call in turn.tool_calls:
                if call.ok and call.name == "edit":
                    await self._workspace.edit(**call.arguments)

    async def _judge(self, trajectory: Trajectory) -> Reward:
        verdict = await judge(self._repository, self._workspace.files, self._sandbox)
        made = [call.name for turn in trajectory.turns for call in turn.tool_calls if call.ok]
        counts = {"edits": float(made.count("edit")), "test_runs": float(made.count("run_tests"))}
        outcome = float(verdict.resolved)
        return Reward(outcome, outcome, {"resolved": outcome, **verdict.parts, **counts})
