"""How a checkpoint's tensors compare with those of a network of the zoo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import FULL, outline
from core.zoo.scale import Scale
from core.zoo.weights import Shape

ONLY_FOR_TRAINING = ".num_batches_tracked"
TOLD = 3
"""Tensors of each kind that an error names."""


@dataclass(frozen=True)
class Fit:
    """A network of the zoo with all said that a name leaves open."""

    architecture: str
    sample_shape: Shape
    classes: int
    scale: Scale = FULL

    def outline(self) -> dict[str, Shape]:
        """Its tensors' shapes by name; raises ValueError where it can't be built so."""
        return outline(self.architecture, self.sample_shape, self.classes, self.scale)

    def __str__(self) -> str:
        sizes = {"width": self.scale.width, "depth": self.scale.depth}
        scale = "".join(f", {kind} {size:.3g}" for kind, size in sizes.items() if size != 1.0)
        return f"{self.architecture} ({self.classes} classes, samples {by(self.sample_shape)}{scale})"


@dataclass(frozen=True)
class Difference:
    """What a checkpoint lacks, has besides, and has in another shape than the network."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]

    @property
    def strangers(self) -> int:
        """Names that only one of the two has."""
        return len(self.missing) + len(self.unexpected)

    def __len__(self) -> int:
        return self.strangers + len(self.misshapen)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        return "; ".join(f"{kind}: {some(items)}" for kind, items in kinds.items() if items)


def compare(shapes: Mapping[str, Shape], fit: Fit) -> Difference:
    """Tensors that only training needs count neither way. What can't be built has nothing in common with any."""
    try:
        own = fit.outline()
    except ValueError as error:
        return Difference([f"all of it ({error})"], list(shapes), [])
    spare = ARCHITECTURES[fit.architecture].spare
    return Difference(
        [name for name in own if name not in shapes],
        [
            name
            for name in shapes
            if name not in own and not name.endswith(ONLY_FOR_TRAINING) and not name.startswith(spare)
        ],
        [
            f"{name} is {by(shapes[name])}, not {by(shape)}"
            for name, shape in own.items()
            if name in shapes and shapes[name] != shape
        ],
    )


def by(shape: Sequence[int]) -> str:
    """A shape in words."""
    if not shape:
        return "a scalar"
    return " x ".join(map(str, shape[:8])) + (" x ..." if len(shape) > 8 else "")


def some(items: Sequence[str]) -> str:
    more = len(items) - TOLD
    return ", ".join(item[:200] for item in items[:TOLD]) + (f" and {more} more" if more > 0 else "")
