"""Which layers a step means, and whether a recipe fits a model: one pure function for API, core and command line."""

import fnmatch
import math
from difflib import get_close_matches
from typing import Protocol, TypeVar

from modelpress.inspection import Inspection, LayerInfo
from modelpress.problem import FieldProblem, RecipeInvalid, RequestInvalid
from modelpress.steps import FilterPruning, Layers, LayerStep, Step
from modelpress.task import Task


class Named(Protocol):
    """A layer as the selection sees it; both `LayerInfo` and core's layers are."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...


L = TypeVar("L", bound=Named)


def matches(name: str, pattern: str) -> bool:
    """A replaced layer's parts are called `name/part` and match patterns on `name`."""
    return fnmatch.fnmatchcase(name, pattern) or any(
        fnmatch.fnmatchcase(name[:i], pattern) for i, c in enumerate(name) if c == "/" and i > 0
    )


def select_layers(chosen: Layers, layers: list[L], kinds: tuple[str, ...]) -> list[L]:
    """The chosen layers, in order.

    Positions count all `layers`, before names and types are looked at. Layers of a kind the technique can't work on
    are left out without a word unless nothing remains.
    """
    count = len(layers)
    places = {p + count if p < 0 else p for p in chosen.positions}
    return [
        layer
        for place, layer in enumerate(layers)
        if layer.type in kinds
        and (not places or place in places)
        and (not chosen.types or layer.type in chosen.types)
        and any(matches(layer.name, pattern) for pattern in chosen.names)
        and not any(matches(layer.name, pattern) for pattern in chosen.skip)
    ]


def check_recipe(steps: list[Step], inspection: Inspection) -> None:
    """Raise RecipeInvalid, with a pointer to each wrong field, where the recipe can't fit the inspected model."""
    errors: list[FieldProblem] = []
    layers = [layer for layer in inspection.layers if layer.weight_shape]
    parts_come = False  # steps that replace a layer by parts make names that the inspection doesn't have
    for index, step in enumerate(steps):
        if isinstance(step, LayerStep):
            errors += _check_layers(step, layers, f"/recipe/{index}", parts_come)
        if step.technique == "distill.student":
            break  # what follows works on another network
        parts_come = parts_come or step.family in ("lowrank", "filters")
    if errors:
        raise RecipeInvalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors)


def check_task(task: Task, inspection: Inspection) -> None:
    """Raise RequestInvalid where the task judges an output that the inspected model doesn't have."""
    names = [output.name for output in inspection.outputs]
    if task.output is not None and task.output not in names:
        detail = f"the model has no output {task.output!r}; it has {', '.join(names)}"
        raise RequestInvalid(detail, errors=[_error("/task/output", "unknown_output", detail)])


def _check_layers(step: LayerStep, layers: list[LayerInfo], pointer: str, parts_come: bool) -> list[FieldProblem]:
    errors = [
        _unknown_name(pattern, layers, f"{pointer}/layers/{field}/{i}")
        for field in ("names", "skip")
        for i, pattern in enumerate(getattr(step.layers, field))
        if not _is_known(pattern, layers, parts_come)
    ]
    for i, place in enumerate(step.layers.positions):
        if not -len(layers) <= place < len(layers):
            detail = f"there is no layer {place}: the model has {len(layers)}"
            errors.append(_error(f"{pointer}/layers/positions/{i}", "unknown_layer", detail))
    if errors:
        return errors
    chosen = select_layers(step.layers, layers, step.kinds)
    if not chosen:
        may_come = parts_come and any("/" in pattern for pattern in step.layers.names)
        return [] if may_come or step.on_failure == "skip" else [_no_layer(step, pointer)]
    return _check_cuts(step, chosen, pointer, parts_come) if isinstance(step, FilterPruning) else []


def _no_layer(step: LayerStep, pointer: str) -> FieldProblem:
    asked = f" of type {', '.join(step.layers.types)}" if step.layers.types else ""
    detail = f"no layer{asked} is left to work on: {step.technique} works on {', '.join(step.kinds)}"
    return _error(f"{pointer}/layers", "no_layer", detail)


def _is_known(pattern: str, layers: list[LayerInfo], parts_come: bool) -> bool:
    return pattern == "*" or any(
        matches(layer.name, pattern) or (parts_come and pattern.startswith(f"{layer.name}/")) for layer in layers
    )


def _unknown_name(pattern: str, layers: list[LayerInfo], pointer: str) -> FieldProblem:
    names = [layer.name for layer in layers]
    close = get_close_matches(pattern, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"the model has {', '.join(names[:5])}, ..."
    return _error(pointer, "unknown_layer", f"no layer matches {pattern!r}; {hint}")


def _check_cuts(step: FilterPruning, chosen: list[LayerInfo], pointer: str, parts_come: bool) -> list[FieldProblem]:
    """Something can be cut, and what is cut survives. Layers that were not analysed (`prunable` null) may be cut.

    New parts (`parts_come`) bring channels that no inspection has seen: only what is known of each layer counts then.
    """
    cuttable = [layer for layer in chosen if layer.prunable != 0]
    if not cuttable and not parts_come:
        return [] if step.on_failure == "skip" else [_locked(chosen, pointer)]
    if step.ratio is None:
        return []
    if step.scope == "layer":
        return [error for layer in cuttable if (error := _check_amount(step.ratio, [layer], pointer))]
    analysed = [layer for layer in cuttable if layer.prunable is not None]
    error = None if parts_come else _check_amount(step.ratio, analysed, pointer)
    return [error] if error else []


def _locked(chosen: list[LayerInfo], pointer: str) -> FieldProblem:
    told = [f"{layer.name}: {layer.locked or 'all its channels are needed'}" for layer in chosen[:3]]
    more = f" (and {len(chosen) - 3} more)" if len(chosen) > 3 else ""
    return _error(f"{pointer}/layers", "locked", f"no channel of the chosen layers can go: {'; '.join(told)}{more}")


def _check_amount(ratio: float, layers: list[LayerInfo], pointer: str) -> FieldProblem | None:
    """At least one channel a layer stays."""
    channels = [layer.out_channels for layer in layers if layer.out_channels]
    total, fewest = sum(channels), len(channels)
    if not total or total * (1.0 - ratio) >= fewest - 1e-9:
        return None
    most = math.floor(1000 * (1.0 - fewest / total)) / 1000
    who = f"{layers[0].name} has" if len(layers) == 1 else f"the {fewest} chosen layers have"
    detail = (
        f"{who} {total} channels in all and ratio {ratio:g} would leave fewer than one a layer; "
        f"ask for at most {most:g}"
    )
    return _error(f"{pointer}/ratio", "layer_emptied", detail)


def _error(pointer: str, code: str, detail: str) -> FieldProblem:
    return FieldProblem(pointer=pointer, code=code, detail=detail)
