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
    for index, step in enumerate(steps):
        if isinstance(step, LayerStep):
            errors += _check_layers(step, layers, f"/recipe/{index}")
        if step.technique == "distill.student":
            break  # what follows works on another network
    if errors:
        raise RecipeInvalid("; ".join(f"{e.pointer}: {e.detail}" for e in errors[:3]), errors=errors)


def _check_layers(step: LayerStep, layers: list[LayerInfo], pointer: str) -> list[FieldProblem]:
    names, errors = [layer.name for layer in layers], []
    for field in ("names", "skip"):
        for i, pattern in enumerate(getattr(step.layers, field)):
            if pattern != "*" and not any(matches(name, pattern) or pattern.startswith(name + "/") for name in names):
                close = get_close_matches(pattern, names, n=3)
                hint = (
                    f"; did you mean {', '.join(close)}?" if close else f"; the model has {', '.join(names[:5])}, ..."
                )
                errors.append(
                    _error(f"{pointer}/layers/{field}/{i}", "unknown_layer", f"no layer matches {pattern!r}{hint}")
                )
    for i, place in enumerate(step.layers.positions):
        if not -len(layers) <= place < len(layers):
            detail = f"there is no layer {place}: the model has {len(layers)}"
            errors.append(_error(f"{pointer}/layers/positions/{i}", "unknown_layer", detail))
    if errors:
        return errors
    chosen = select_layers(step.layers, layers, step.kinds)
    if not chosen:
        detail = f"no layer is left to work on: {step.technique} works on {', '.join(step.kinds)}"
        return [_error(f"{pointer}/layers", "no_layer", detail)]
    return [error for layer in chosen if (error := _check_amount(step, layer, pointer))]


def _check_amount(step: LayerStep, layer: LayerInfo, pointer: str) -> FieldProblem | None:
    """A layer that was named, not swept up by a wildcard, must survive the cut."""
    if not isinstance(step, FilterPruning) or step.ratio is None or step.scope != "layer" or not layer.out_channels:
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
