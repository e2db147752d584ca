"""Progress bars, on stderr and only where a person watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Bar(Protocol):
    """One bar: how far it is, and what is going on."""

    def update(self, done: float, message: str | None = None) -> None: ...


class NoBar:
    """Where nobody watches."""

    def update(self, done: float, message: str | None = None) -> None:
        return None


class Bars:
    """Makes bars, or silence."""

    def __init__(self, show: bool | None) -> None:
        self.show = sys.stderr.isatty() if show is None else show

    @contextmanager
    def bytes(self, title: str, total: int) -> Iterator[Bar]:
        """A bar for bytes, with speed and time left."""
        with self._bar(
            title, total, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        ) as bar:
            yield bar

    @contextmanager
    def fraction(self, title: str) -> Iterator[Bar]:
        """A bar from 0 to 1, with what is going on and the time so far."""
        with self._bar(title, 1.0, BarColumn(), TaskProgressColumn(), TimeElapsedColumn()) as bar:
            yield bar

    @contextmanager
    def _bar(self, title: str, total: float, *columns: ProgressColumn) -> Iterator[Bar]:
        if not self.show:
            yield NoBar()
            return
        with Progress(TextColumn("{task.description:<44.44}"), *columns, console=Console(stderr=True)) as progress:
            yield _RichBar(progress, title, total)


class _RichBar:
    def __init__(self, progress: Progress, title: str, total: float) -> None:
        self._progress = progress
        self._title = title
        self._task = progress.add_task(escape(title), total=total)

    def update(self, done: float, message: str | None = None) -> None:
        self._progress.update(self._task, completed=done, description=escape(message or self._title))
