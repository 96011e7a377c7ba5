"""Transformers that know their symbols, and transformers that must infer them in context."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decipher.lexinvariant.checkpoint import load as load
    from decipher.lexinvariant.checkpoint import save as save
    from decipher.lexinvariant.model import Config as Config
    from decipher.lexinvariant.model import Transformer as Transformer
    from decipher.lexinvariant.model import preset as preset
    from decipher.lexinvariant.recipe import Curriculum as Curriculum
    from decipher.lexinvariant.recipe import Recipe as Recipe
    from decipher.lexinvariant.train import Trainer as Trainer

# Loaded when first asked for: torch takes a second or two, and most commands need none of it.
_HOMES = {
    "Config": "model",
    "Curriculum": "recipe",
    "Recipe": "recipe",
    "Trainer": "train",
    "Transformer": "model",
    "load": "checkpoint",
    "preset": "model",
    "save": "checkpoint",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'decipher.lexinvariant' has no attribute {name!r}")
    return getattr(import_module(f"decipher.lexinvariant.{_HOMES[name]}"), name)
