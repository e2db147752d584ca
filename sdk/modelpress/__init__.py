"""ModelPress: smaller, faster networks, with the measurements that prove it.

The contract's types, the client and the command line. Names are imported when they are first used, so that
`modelpress --help` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelpress.client import AsyncClient, Client
    from modelpress.problem import Problem, ProblemError

_HOMES = {
    "Client": "modelpress.client",
    "AsyncClient": "modelpress.client",
    "Problem": "modelpress.problem",
    "ProblemError": "modelpress.problem",
}

__all__ = ["AsyncClient", "Client", "Problem", "ProblemError"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelpress' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
