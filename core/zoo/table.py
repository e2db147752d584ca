"""`docs/zoo.md`: the networks as a table, made by `python -m core.zoo.table > docs/zoo.md`."""

import math
import sys
from collections.abc import Mapping

from core.zoo.architectures import ARCHITECTURES
from core.zoo.build import outline
from core.zoo.fit import by
from core.zoo.weights import Shape

STATISTICS = (".running_mean", ".running_var")
INTRODUCTION = """\
# The zoo

Networks that are known by name: the ones that papers on compression compress. A safetensors checkpoint is uploaded
with the name of its network (`modelpress upload weights.safetensors --architecture resnet50`); a student of
`distill.student` may be any of them, at a `width` (channels of every hidden layer) and a `depth` (blocks of each stage,
one at least) that are fractions of the paper's.

Parameters are those that are trained, at the paper's own input and classes; a test compares them with the papers.
What each family's depth means, which variant it is and how its tensors are named is in the docstrings of
`core/zoo`.

| name | paper | input | classes | parameters |
|---|---|---|---|---|
"""


def parameters(shapes: Mapping[str, Shape]) -> int:
    """Trained numbers, as papers count them: without the statistics of batch normalisation."""
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(STATISTICS))


def table() -> str:
    lines = []
    for name, found in ARCHITECTURES.items():
        count = parameters(outline(name, found.sample_shape, found.classes))
        lines.append(f"| `{name}` | {found.paper} | {by(found.sample_shape)} | {found.classes} | {count:,} |\n")
    return INTRODUCTION + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table())
