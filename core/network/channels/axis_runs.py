"""Which axes of a shape become which axes of another that the same elements are laid out in."""

from collections.abc import Sequence

Run = tuple[list[int], list[int]]


def runs(old: Sequence[int], new: Sequence[int]) -> list[Run]:
    """Shortest runs of axes of two shapes with equal products, in order.

    (2, 3, 4, 5) to (6, 20) gives ([0, 1], [0]) and ([2, 3], [1]).
    """
    found: list[Run] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [i] if i < len(old) else [], [j] if j < len(new) else []
        a, b = (old[i] if left else 1), (new[j] if right else 1)
        i, j = i + len(left), j + len(right)
        while a != b:
            if a < b and i < len(old):
                a, left, i = a * old[i], [*left, i], i + 1
            elif j < len(new):
                b, right, j = b * new[j], [*right, j], j + 1
            else:
                a, left, i = a * old[i], [*left, i], i + 1
        found.append((left, right))
    return found
