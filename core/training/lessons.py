"""Batches for a fit: inputs, what the original makes of them, labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from core.data.samples import Samples
from core.training.augment import Augmentation, augmented

MOST_BYTES_ON_CPU = 2**30
SHARE_OF_GPU = 0.4
"""Of the free memory of a GPU that the data may take; the rest is for the step itself."""
PREPARING = 256
"""Samples a batch while nothing is trained."""


@dataclass(frozen=True)
class Lesson:
    """Inputs in the graph's order, the original's outputs, labels or None; all on the device."""

    inputs: tuple[Tensor, ...]
    wanted: tuple[Tensor, ...]
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs[0])


Arguments = Callable[[Mapping[str, Tensor]], Sequence[Tensor]]
Teacher = Callable[..., Sequence[Tensor]]


class Lessons:
    """Batches of one role of data. Kept on the device with the original's outputs where they fit, else made anew.

    Args:
        samples: at least one.
        arguments: a batch's inputs in the order, of the type and on the device that the graph takes.
        teacher: outputs of the original, computed without gradient.
        most_bytes: what may be kept on the device; left out means a share of what is free.
        augmentation: how the inputs of shuffled lessons are changed; the original answers for the changed ones.
        beat: called after each batch while the original is asked for all samples, which may take minutes.
    """

    def __init__(
        self,
        samples: Samples,
        arguments: Arguments,
        teacher: Teacher,
        device: torch.device,
        most_bytes: int | None = None,
        beat: Callable[[], None] = lambda: None,
        augmentation: Augmentation = "none",
    ) -> None:
        self._augmentation: Augmentation = augmentation
        self._samples, self._arguments, self._teacher, self._device = samples, arguments, teacher, device
        most = _free(device) if most_bytes is None else most_bytes
        self._kept = self._load(beat) if self._bytes_of_all() <= most else None

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def is_resident(self) -> bool:
        return self._kept is not None

    def steps(self, size: int) -> int:
        """Whole batches in one pass; 1 where there are fewer samples than that."""
        return max(1, len(self) // size)

    def shuffled(self, size: int, generator: torch.Generator, start: int = 0) -> Iterator[Lesson]:
        """Whole batches of one pass in the generator's order, from batch `start` on."""
        size = min(size, len(self))
        seed = int(torch.randint(2**62, (), generator=generator)) if self._augmentation != "none" else 0
        for place, lesson in enumerate(self._plain(size, generator, start), start):
            yield self._changed(lesson, seed + place)

    def _plain(self, size: int, generator: torch.Generator, start: int) -> Iterator[Lesson]:
        if self._kept is None:
            stream = (batch for batch in self._stream(size, generator) if len(batch) == size)
            yield from islice(stream, start, None)
            return
        order = torch.randperm(len(self), generator=generator)
        for place in range(start, self.steps(size)):
            yield _rows(self._kept, order[place * size : (place + 1) * size].to(self._device))

    def _changed(self, lesson: Lesson, seed: int) -> Lesson:
        """The lesson on augmented inputs. Its own seed lets a resumed pass change them as an undisturbed one does."""
        if self._augmentation == "none":
            return lesson
        inputs = augmented(lesson.inputs, self._augmentation, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return Lesson(inputs, tuple(self._teacher(*inputs)), lesson.labels)

    def ordered(self, size: int = PREPARING) -> Iterator[Lesson]:
        """Every sample once, in order."""
        if self._kept is None:
            yield from self._stream(size, None)
            return
        for begin in range(0, len(self), size):
            yield _rows(self._kept, slice(begin, begin + size))

    def _stream(self, size: int, generator: torch.Generator | None) -> Iterator[Lesson]:
        for inputs, labels in self._samples.batches(size, generator):
            tensors = tuple(self._arguments(inputs))
            with torch.no_grad():
                wanted = tuple(self._teacher(*tensors))
            yield Lesson(tensors, wanted, None if labels is None else labels.to(self._device))

    def _bytes_of_all(self) -> int:
        one = next(self._stream(1, None))
        return len(self) * sum(t.numel() * t.element_size() for t in (*one.inputs, *one.wanted))

    def _load(self, beat: Callable[[], None]) -> Lesson:
        """All batches in tensors of their final size, so that nothing is held twice."""
        kept: Lesson | None = None
        start = 0
        for lesson in self._stream(PREPARING, None):
            if kept is None:
                kept = _each(lesson, lambda part: part.new_empty((len(self), *part.shape[1:])))
            for whole, part in zip(_parts(kept), _parts(lesson), strict=True):
                whole[start : start + len(lesson)] = part
            start += len(lesson)
            beat()
        assert kept is not None, "there are no samples"
        return kept


def _each(lesson: Lesson, change: Callable[[Tensor], Tensor]) -> Lesson:
    labels = None if lesson.labels is None else change(lesson.labels)
    return Lesson(tuple(map(change, lesson.inputs)), tuple(map(change, lesson.wanted)), labels)


def _parts(lesson: Lesson) -> list[Tensor]:
    return [*lesson.inputs, *lesson.wanted, *([] if lesson.labels is None else [lesson.labels])]


def _rows(lesson: Lesson, rows: Tensor | slice) -> Lesson:
    return _each(lesson, lambda part: part[rows])


def _free(device: torch.device) -> int:
    if device.type != "cuda":
        return MOST_BYTES_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    return int(SHARE_OF_GPU * free)
