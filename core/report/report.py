"""What a report tells: the result with what it was asked for, and the layers before and after."""

from dataclasses import asdict, dataclass
from typing import Any

from core.gates.worth import ORIGINAL
from core.measure.layers import OTHER, LayerFigures
from modelpress.job import Job
from modelpress.result import Candidate, Measurement, Result


@dataclass(frozen=True)
class Report:
    """
    Attributes:
        layers: of the original and of the best, by candidate's name.
        main_metric: of the task; None where there were no samples.
        is_synthetic: whether the inputs were made up.
    """

    job: Job
    result: Result
    layers: dict[str, list[LayerFigures]]
    main_metric: str | None
    is_synthetic: bool

    @property
    def original(self) -> Candidate:
        return self.result.candidates[0]

    @property
    def best(self) -> Candidate:
        return next(c for c in self.result.candidates if c.name == self.result.best)

    def as_json(self) -> dict[str, Any]:
        return {
            "job": self.job.model_dump(mode="json"),
            "result": self.result.model_dump(mode="json"),
            "main_metric": self.main_metric,
            "layers": {name: [asdict(layer) for layer in layers] for name, layers in self.layers.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """One metric before and after."""

    metric: str
    before: Measurement | None
    after: Measurement | None


@dataclass(frozen=True)
class Section:
    """Metrics that belong together."""

    title: str
    rows: list[Comparison]


OF_THE_ORIGINAL = "original_"
"""Begins what was measured of the original in the same rounds as of a candidate."""


def sections(report: Report) -> list[Section]:
    """Every metric of the whole network, the final figures first; sections without any are left out."""
    rows = [(key, compared(report, key)) for key in dict.fromkeys([*whole(report.original), *whole(report.best)])]
    titles = {
        "test": "Quality on the test samples: the final figures",
        "select": "Quality on the selection samples, which candidates were chosen by",
        "size": "Size and work",
        "speed": "Speed and memory",
    }
    parts: dict[str, list[Comparison]] = {name: [] for name in titles}
    for (metric, role), row in rows:
        if not metric.startswith(OF_THE_ORIGINAL):
            parts[role or ("size" if metric in ("parameters", "nonzeros", "macs", "bytes") else "speed")].append(row)
    return [Section(titles[name], found) for name, found in parts.items() if found]


def compared(report: Report, key: tuple[str, str | None]) -> Comparison:
    """Latencies are compared with the original's of the same rounds."""
    before, after = whole(report.original), whole(report.best)
    paired = after.get((OF_THE_ORIGINAL + key[0], key[1]))
    return Comparison(key[0], paired or before.get(key), after.get(key))


def whole(candidate: Candidate) -> dict[tuple[str, str | None], Measurement]:
    return {(m.metric, m.role): m for m in candidate.measurements if m.subject == candidate.name}


@dataclass(frozen=True)
class LayerRow:
    """One layer of the original, and what has become of it; None where it is gone or not measured."""

    name: str
    op_type: str
    before: LayerFigures | None
    after: list[LayerFigures]

    def total(self, field: str) -> float | None:
        """Sum over its parts after."""
        values = [getattr(part, field) for part in self.after]
        known = [value for value in values if value is not None]
        return sum(known) if known else None


def layer_rows(report: Report) -> list[LayerRow]:
    """The original's layers with the parts that replaced them, then layers that are new, then the rest."""
    before = report.layers[ORIGINAL]
    after = report.layers.get(report.best.name, before)
    names = {layer.name for layer in before}
    homes: dict[str, list[LayerFigures]] = {}
    for layer in after:
        homes.setdefault(home_of(layer.name, names), []).append(layer)
    rows = [LayerRow(layer.name, layer.op_type, layer, homes.pop(layer.name, [])) for layer in before]
    rows += [LayerRow(name, parts[0].op_type, None, parts) for name, parts in homes.items()]
    return sorted(rows, key=lambda row: row.name == OTHER)


def home_of(name: str, originals: set[str]) -> str:
    """The original layer that a part such as `fc/1` belongs to, or its own name."""
    while name not in originals and "/" in name.strip("/"):
        name = name.rpartition("/")[0]
    return name
