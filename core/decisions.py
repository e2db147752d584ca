"""Decisions: choices made from measured times, written down at once, so that a resumed job makes them again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.atomic import write_text
from modelpress.problem import ModelError
from modelpress.result import Decision


class Decisions:
    """The decisions of a job, in the order they were made, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Decision] = {}
        if path.is_file():
            self._known = {decision.key: decision for decision in _read(path)}

    def decide(self, key: str, choose: Callable[[], Any], because: str = "") -> Any:
        """The value recorded under `key`, or what `choose` returns now, which is recorded.

        Args:
            choose: gives something that survives JSON.
        """
        if key not in self._known:
            self._known[key] = Decision(key=key, value=choose(), because=because)
            write_text(self.path, json.dumps([decision.model_dump(mode="json") for decision in self._known.values()]))
        return self._known[key].value

    def all(self) -> list[Decision]:
        return list(self._known.values())


def _read(path: Path) -> list[Decision]:
    try:
        return [Decision.model_validate(item) for item in json.loads(path.read_text("utf-8"))]
    except ValueError as error:
        raise ModelError(f"the recorded decisions can't be read: {error}") from error
