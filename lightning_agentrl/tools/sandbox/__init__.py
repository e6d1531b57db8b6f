"""Runs programs that nobody trusts: template processes that fork, locked in by the kernel. SECURITY.md says how far."""

from lightning_agentrl.tools.sandbox.layers import SandboxUnavailable
from lightning_agentrl.tools.sandbox.pool import Sandbox
from lightning_agentrl.tools.sandbox.settings import Execution, SandboxSettings, Status

__all__ = ["Execution", "Sandbox", "SandboxSettings", "SandboxUnavailable", "Status"]
