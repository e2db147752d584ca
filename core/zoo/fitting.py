"""Which network of the zoo a checkpoint holds: scale, classes and images, read off the tensors' names and shapes.

A network is outlined in a millisecond or two, so that trying is simpler than a rule for each family, and knows how
each rounds.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from core.zoo.architectures import ARCHITECTURES
from core.zoo.fit import Fit, compare
from core.zoo.scale import Scale
from core.zoo.weights import Shape
from modelpress.architecture import Architecture
from modelpress.problem import CheckpointMismatch

Shapes = Mapping[str, Shape]

DEPTHS = (1 / 2, 3 / 4, 1 / 4, 2 / 3, 1 / 3, 0.8, 0.6, 0.4, 0.2, 0.9, 0.7, 0.3, 0.1, 5 / 6, 1 / 6)
SIDES = (32, 28, 64, 96, 128, 160, 192, 224, 227, 256)
"""Of images, tried in turn where the paper's does not fit."""
WIDEST, HALVINGS = 16.0, 24
"""Where the width is looked for, and how closely."""
NEAREST = 3
"""Architectures whose names of tensors are most alike, which are looked at closely."""


def fit_to(shapes: Shapes, asked: Architecture) -> Fit:
    """The network asked for, what was left open filled in.

    Args:
        shapes: of the checkpoint's tensors by name.

    Raises:
        CheckpointMismatch: the tensors are others; names the first of them, and the network that they do fit.
    """
    found = nearest(shapes, asked)
    difference = compare(shapes, found)
    if not difference:
        return found
    raise CheckpointMismatch(f"the checkpoint is not that of {found}; {difference}", hint=advice(shapes, found))


def advice(shapes: Shapes, tried: Fit | None = None) -> str:
    """Which network the tensors fit, or fit best."""
    alike = sorted(ARCHITECTURES, key=lambda name: compare(shapes, of_paper(name)).strangers)[:NEAREST]
    fits = [nearest(shapes, Architecture.model_validate({"name": name})) for name in alike]
    best = min(fits, key=lambda fit: len(compare(shapes, fit)))
    differing = len(compare(shapes, best))
    if differing == 0:
        return f"The tensors are those of {best}."
    if not own_of(best).keys() & shapes.keys():
        return "None is called as in the zoo: rename them (a prefix, perhaps); what is not in it is uploaded as ONNX."
    if tried is not None and differing >= len(compare(shapes, tried)):
        return (
            "Where the width, the depth or the images are not the paper's, say so; a network that is not in the zoo "
            "is uploaded as ONNX."
        )
    return f"The nearest is {best}, where {differing} tensors differ; what is not in the zoo is uploaded as ONNX."


def nearest(shapes: Shapes, asked: Architecture) -> Fit:
    """The network asked for, what was left open chosen to fit, or else as the paper has it.

    A depth is read off only where no network of the zoo has these names at its full depth: a ResNet-20 is not taken
    for a shallow ResNet-32 that someone may have confused it with.
    """
    fit = of_paper(asked.name)
    fit = replace(
        fit,
        sample_shape=tuple(asked.input_shape or fit.sample_shape),
        classes=asked.classes or fit.classes,
        scale=Scale(asked.width or 1.0, asked.depth or 1.0),
    )
    if asked.depth is None and not any(has_names_of(shapes, of_paper(name)) for name in ARCHITECTURES):
        shallower = (replace(fit, scale=replace(fit.scale, depth=depth)) for depth in DEPTHS)
        fit = first(shallower, lambda fit: has_names_of(shapes, fit)) or fit
    fit = _with_ends(shapes, fit, asked)
    if asked.width is None:
        fit = _with_width(shapes, fit)
    if asked.input_shape is None:
        resized = (replace(fit, sample_shape=sample) for sample in _samples(fit))
        fit = first(resized, lambda fit: len(compare(shapes, fit)) == 0) or fit
    return fit


def first(fits: Iterable[Fit], is_right: Callable[[Fit], bool]) -> Fit | None:
    return next((fit for fit in fits if is_right(fit)), None)


def has_names_of(shapes: Shapes, fit: Fit) -> bool:
    return compare(shapes, fit).strangers == 0


def of_paper(architecture: str) -> Fit:
    found = ARCHITECTURES[architecture]
    return Fit(architecture, found.sample_shape, found.classes)


def _with_ends(shapes: Shapes, fit: Fit, asked: Architecture) -> Fit:
    """Classes off the last layer, the input's channels off the first."""
    if not (names := list(own_of(fit))):
        return fit
    first, last = shapes.get(names[0], ()), shapes.get(names[-1], ())
    if asked.classes is None and last and last[0]:
        fit = replace(fit, classes=last[0])
    if asked.input_shape is None and len(first) == 4 and first[1]:
        fit = replace(fit, sample_shape=(first[1], *fit.sample_shape[1:]))
    if asked.input_shape is None and len(first) == 2 and first[1]:
        channels, height, width = fit.sample_shape
        fit = fit if channels * height * width == first[1] else replace(fit, sample_shape=(first[1],))
    return fit


def _with_width(shapes: Shapes, fit: Fit) -> Fit:
    """At the width, as round as may be, at which the layers have as many channels as in the checkpoint.

    No layer loses a channel as the width grows: if the sums over all layers agree, so does each layer.
    """
    named = [name for name in own_of(fit) if shapes.get(name)]
    wanted = sum(shapes[name][0] for name in named)

    def at(width: float) -> Fit:
        return replace(fit, scale=replace(fit.scale, width=width))

    def excess(width: float) -> int:
        own = own_of(at(width))
        return sum(own[name][0] for name in named if name in own) - wanted

    low, width, high = 0.0, 1.0, WIDEST
    for _ in range(HALVINGS):
        if (found := excess(width)) == 0:
            rounded = (round(width, digits) for digits in (1, 2, 3))
            return at(next((w for w in rounded if w > 0 and excess(w) == 0), width))
        low, high = (low, width) if found > 0 else (width, high)
        width = (low + high) / 2
    return fit


def own_of(fit: Fit) -> dict[str, Shape]:
    """The network's tensors, none where it can't be built."""
    try:
        return fit.outline()
    except ValueError:
        return {}


def _samples(fit: Fit) -> Iterator[Shape]:
    yield fit.sample_shape
    if len(fit.sample_shape) == 3:
        yield from ((fit.sample_shape[0], side, side) for side in SIDES)
