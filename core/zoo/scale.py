"""How much of a network is built: its width and its depth as fractions of the paper's."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """Channels of every hidden layer, and blocks of every stage; 1 is the paper's own network."""

    width: float = 1.0
    depth: float = 1.0

    def channels(self, full: int, multiple: int = 1) -> int:
        """Channels at this width, a multiple of `multiple` and never none."""
        return multiple * max(1, round(full * self.width / multiple))

    def blocks(self, stage: tuple[T, ...]) -> list[T]:
        """A stage's last blocks, one at least, so that it ends as wide as it was; a deeper one repeats the last."""
        count = max(1, round(len(stage) * self.depth))
        return [*stage[-count:], *stage[-1:] * (count - len(stage))]
