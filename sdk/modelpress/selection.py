"""Which layers a step means, and whether a recipe fits a model: one pure function for API, core and command line."""

import fnmatch
from difflib import get_close_matches
from typing import Protocol, TypeVar

from modelpress.inspection import Inspection, LayerInfo
from modelpress.problem import FieldProblem, RecipeInvalid
from modelpress.steps import FilterPruning, Layers, LayerStep, Step


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
    if not chosen and not (parts_come and any("/" in pattern for pattern in step.layers.names)):
        detail = f"no layer is left to work on: {step.technique} works on {', '.join(step.kinds)}"
        return [_error(f"{pointer}/layers", "no_layer", detail)]
    return [error for layer in chosen if (error := _check_amount(step, layer, pointer))]


def _is_known(pattern: str, layers: list[LayerInfo], parts_come: bool) -> bool:
    return pattern == "*" or any(
        matches(layer.name, pattern) or (parts_come and pattern.startswith(f"{layer.name}/")) for layer in layers
    )


def _unknown_name(pattern: str, layers: list[LayerInfo], pointer: str) -> FieldProblem:
    names = [layer.name for layer in layers]
    close = get_close_matches(pattern, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"the model has {', '.join(names[:5])}, ..."
    return _error(pointer, "unknown_layer", f"no layer matches {pattern!r}; {hint}")


def _check_amount(step: LayerStep, layer: LayerInfo, pointer: str) -> FieldProblem | None:
    """A layer that can be cut must survive the cut."""
    if not isinstance(step, FilterPruning) or step.ratio is None or step.scope != "layer":
        return None
    if not layer.out_channels or layer.prunable == 0:
        return None
    if layer.out_channels * (1.0 - step.ratio) < 1.0:
        most = 1.0 - 1.0 / layer.out_channels
        detail = (
            f"{layer.name} has {layer.out_channels} channels and ratio {step.ratio} would leave none; "
            f"ask for at most {most:.2f}"
        )
        return _error(f"{pointer}/ratio", "layer_emptied", detail)
    return None


def _error(pointer: str, code: str, detail: str) -> FieldProblem:
    return FieldProblem(pointer=pointer, code=code, detail=detail)
