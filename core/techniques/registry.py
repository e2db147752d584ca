"""Which function answers which step."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import core.techniques
from modelpress.problem import StepError
from modelpress.steps import Step, name_of

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Network

Technique = Callable[["Network", Any, "Context"], None]
F = TypeVar("F", bound=Technique)

_techniques: dict[type[Step], Technique] = {}


def technique(step: type[Step]) -> Callable[[F], F]:
    """Register the decorated function, which changes a network in place, as what `step` asks for."""

    def register(function: F) -> F:
        assert step not in _techniques, f"{name_of(step)} is registered twice"
        _techniques[step] = function
        return function

    return register


def find(step: Step | type[Step]) -> Technique:
    """The technique that does a step. Raises StepError where this version has none."""
    _load()
    kind = step if isinstance(step, type) else type(step)
    if kind not in _techniques:
        raise StepError(f"nothing here does {name_of(kind)}", hint="Update the server to the version of the contract.")
    return _techniques[kind]


@cache
def _load() -> None:
    """Import every module below `core.techniques`, so that each registers what it has."""
    for module in pkgutil.walk_packages(core.techniques.__path__, "core.techniques."):
        importlib.import_module(module.name)
