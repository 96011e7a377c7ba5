"""From posteriors to figures: how well decipherers do, and how that grows with context.

Names are imported when they are first used, so that a command's `--help` does not wait for pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.curves import accuracy_curve, measure, summarise
    from analysis.figures import plot_accuracy
    from analysis.predictive import PredictiveDecipherer
    from analysis.probes import LinearProbe, MLPProbe, NearestNeighbourProbe
    from analysis.readers import ProbeDecipherer, recover_mapping

__all__ = [
    "LinearProbe",
    "MLPProbe",
    "NearestNeighbourProbe",
    "PredictiveDecipherer",
    "ProbeDecipherer",
    "accuracy_curve",
    "measure",
    "plot_accuracy",
    "recover_mapping",
    "summarise",
]

_HOMES = {
    "LinearProbe": "probes",
    "MLPProbe": "probes",
    "NearestNeighbourProbe": "probes",
    "PredictiveDecipherer": "predictive",
    "ProbeDecipherer": "readers",
    "accuracy_curve": "curves",
    "measure": "curves",
    "plot_accuracy": "figures",
    "recover_mapping": "readers",
    "summarise": "curves",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
