"""Figures kept beside the code: one JSON file a measurement."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.measure.environment import processor

RESULTS = Path(__file__).parent / "results"


def keep(name: str, figures: Any) -> None:
    """Print the figures and write them with the date and the kind of machine."""
    print(json.dumps(figures, indent=2))
    RESULTS.mkdir(exist_ok=True)
    record = {"measured": datetime.now(UTC).date().isoformat(), "machine": machine(), "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def machine() -> str:
    return f"{processor()[0]}, {os.cpu_count()} cores, {platform.system()}"
