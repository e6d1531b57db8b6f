"""A Python interpreter for the policy, locked in by the operating system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.sandbox import Execution, Sandbox, SandboxSettings
from lightning_agentrl.tools.sandbox.pool import ATTEMPTS
from lightning_agentrl.tools.sandbox.worker import GRACE_SECONDS, START_SECONDS


class PythonTool(Tool):
    """Runs programs of the policy in a `Sandbox`, one for all trajectories.

    The reward never enters it: whatever a program says about itself is text to the judge.
    """

    name = "python"

    def __init__(self, settings: SandboxSettings | None = None, limits: ToolLimits | None = None) -> None:
        """Check that this machine can contain programs; nothing is started before the first call.

        Args:
            settings: what a program may use.
            limits: what a call may cost. By default as many calls run at once as the sandbox has slots, and the time of
                a call leaves room for the machinery to be restarted: a program's own time is a setting of the sandbox.

        Raises:
            SandboxUnavailable: when this machine cannot contain programs.
        """
        self.settings = settings or SandboxSettings()
        self.sandbox = Sandbox(self.settings)
        patience = ATTEMPTS * (START_SECONDS + self.settings.timeout + GRACE_SECONDS)
        self._limits = limits or ToolLimits(timeout=patience, concurrency=self.settings.slots)

    @property
    def limits(self) -> ToolLimits:
        """What a call may cost."""
        return self._limits

    @property
    def description(self) -> str:
        """What a program can and cannot do."""
        files = (
            "It may write files in its working directory, which is removed afterwards."
            if self.settings.writable
            else "It cannot write files."
        )
        return (
            "Run a Python program and read what it prints; if it prints nothing, the value of the expression that it "
            "ends with. Each program starts afresh: variables and imports of earlier calls are gone. It can import the "
            f"standard library and {', '.join(self.settings.preload)}. {files} It has no network, no threads and no "
            f"other processes, and is stopped after {self.settings.timeout:g} seconds."
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""
        code = {"type": "string", "description": "Source code of the whole program."}
        return {"type": "object", "properties": {"code": code}, "required": ["code"]}

    async def __call__(self, **arguments: Any) -> ToolResult:
        """Run ``code``."""
        return self.result(await self.sandbox.run(arguments["code"]))

    def result(self, execution: Execution) -> ToolResult:
        """What the policy is told of an execution: beginning and end of a long output, and how it ended."""
        note = self._note(execution)
        room = max(0, self.limits.max_characters - len(note))
        text = _shorten(execution.text, room)
        cut = execution.truncated or text != execution.text
        kind = {"ok": None, "error": "exception"}.get(execution.status, execution.status)
        if note and text and not text.endswith("\n"):
            note = f"\n{note}"
        return ToolResult(text + note, ok=kind is None, error_kind=kind, truncated=cut, latency=execution.seconds)

    def _note(self, execution: Execution) -> str:
        """What its output does not say."""
        settings = self.settings
        notes = {
            "ok": "" if execution.text else "[no output]",
            "error": "" if execution.text else "[ended with an error and no output]",
            "timeout": f"[stopped after {settings.timeout:g} seconds]",
            "memory": f"[used more than {settings.memory_mb} MiB of memory]",
            "output": f"[stopped: printed more than {settings.max_output} bytes]",
            "disk": f"[stopped: wrote more than {settings.writable_mb} MiB]",
            "killed": f"[crashed: {execution.signal}]",
        }
        return notes[execution.status]

    def close(self) -> None:
        """End the sandbox's processes."""
        self.sandbox.close()


def _shorten(text: str, room: int) -> str:
    """Beginning and end of a text: an error comes last."""
    if len(text) <= room:
        return text
    mark = "\n[… left out …]\n"
    kept = max(0, room - len(mark)) // 2
    return text[:kept] + mark + text[len(text) - kept :]
