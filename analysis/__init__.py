"""From posteriors to figures: how well decipherers do, and how that grows with context.

Names are imported when they are first used, so that a command's `--help` does not wait for pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.curves import accuracy_curve, measure, summarise
    from analysis.figures import plot_accuracy

__all__ = ["accuracy_curve", "measure", "plot_accuracy", "summarise"]

_HOMES = {
    "accuracy_curve": "curves",
    "measure": "curves",
    "plot_accuracy": "figures",
    "summarise": "curves",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
