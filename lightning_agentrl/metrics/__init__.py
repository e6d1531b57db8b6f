"""Numbers about rollouts as `torchmetrics.Metric`: right over any number of updates and ranks.

Each has ``update(rollouts)`` and ``compute()``, which gives a dictionary that is ready for a logger. Names read
``<section>/<quantity>[_<statistic>][_<of what>]``: ``val/pass@4``, ``val/pass@4_low``, ``rollout/length_max``,
``rollout/stop_context``, ``tool/success_search``, ``tool/latency_p95_ms_search``. A ``_share`` lies in [0, 1]. What
there is nothing to compute from has no name; zero always means zero. All ranks get the same names and values, also
those that saw no rollout.
"""

from lightning_agentrl.metrics.bootstrap import Bootstrap
from lightning_agentrl.metrics.credit import CreditStatistics
from lightning_agentrl.metrics.groups import GroupStd, ZeroVarianceShare
from lightning_agentrl.metrics.lengths import StopReasons, Truncation, Turns
from lightning_agentrl.metrics.majority import MajorityAtK
from lightning_agentrl.metrics.mismatch import EngineMismatch
from lightning_agentrl.metrics.samples import PassAtK, PassHatK
from lightning_agentrl.metrics.tools import ToolSuccess
from lightning_agentrl.metrics.verdicts import SuccessBy, VerdictParts, Verdicts

__all__ = [
    "Bootstrap",
    "CreditStatistics",
    "EngineMismatch",
    "GroupStd",
    "MajorityAtK",
    "PassAtK",
    "PassHatK",
    "StopReasons",
    "SuccessBy",
    "ToolSuccess",
    "Truncation",
    "Turns",
    "VerdictParts",
    "Verdicts",
    "ZeroVarianceShare",
]
