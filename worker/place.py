"""Where jobs are run: what one lane of a worker has to run them with."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from store.blobs import Blobs
from store.cache import BlobCache
from store.database import Database
from store.rings import queue_name
from store.settings import Settings
from worker import child


class Flag(Protocol):
    """An event of threads or of processes."""

    def is_set(self) -> bool: ...
    def set(self) -> None: ...


@dataclass
class Place:
    """One lane: it runs one job at a time."""

    settings: Settings
    database: Database
    blobs: Blobs
    cache: BlobCache
    worker_id: str
    lane: str
    device_class: str = "cpu"
    cuda_device: str = ""
    """UUID of the GPU that jobs of class `cuda` run on."""
    draining: Flag = field(default_factory=threading.Event)
    """Set when the worker is to stop: the running job is given back."""
    command: Callable[[Path], Sequence[str]] = child.command

    @property
    def queue(self) -> str:
        return queue_name(self.lane, self.device_class)

    @property
    def jobs_dir(self) -> Path:
        return self.settings.data_dir / "jobs"
