"""What watches a run: progress, transcripts, settings, the before-and-after table."""

from lightning_agentrl.callbacks.before_after import BeforeAfter
from lightning_agentrl.callbacks.bundles import Bundles
from lightning_agentrl.callbacks.credit_figures import CreditFigures
from lightning_agentrl.callbacks.dashboard import Dashboard
from lightning_agentrl.callbacks.progress import PhaseProgress
from lightning_agentrl.callbacks.run_settings import RunSettings
from lightning_agentrl.callbacks.transcripts import Transcripts

__all__ = ["BeforeAfter", "Bundles", "CreditFigures", "Dashboard", "PhaseProgress", "RunSettings", "Transcripts"]
