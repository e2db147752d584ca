"""Celery as the engine that runs jobs: a task that claims whatever is best, and a worker around it.

A message carries nothing: it says that there may be work. It is acknowledged before the work starts, so the broker
never decides that a job shall run again; the lease in the database does.
"""

import multiprocessing
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals

from modelpress.problem import RequestInvalid
from store import claims
from store.blobs import open_blobs
from store.broker import CeleryRings, celery_app
from store.cache import BlobCache
from store.database import Database
from store.rings import TASK, queue_name
from store.settings import Settings
from worker import child
from worker.folder import sweep
from worker.place import Flag, Place
from worker.presence import Presence
from worker.protect import hide_memory
from worker.supervise import run_next_job

CONNECTIONS = 6
"""Of one place to the database: its lease, its teller, itself, and some to spare."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Post:
    """What one Celery worker is for."""

    settings: Settings
    lane: str
    device_class: str = "cpu"
    cuda_device: str = ""
    command: Callable[[Path], Sequence[str]] = child.command

    @property
    def queue(self) -> str:
        return queue_name(self.lane, self.device_class)


def serve(post: Post) -> None:
    """Run a Celery worker with one process until it is told to stop; a running job is then given back.

    Raises:
        RequestInvalid: there is no broker to listen to.
    """
    if post.settings.redis_url is None:
        raise RequestInvalid(
            "a worker listens to a broker", hint="Set MODELPRESS_REDIS_URL, or use `modelpress-server up`."
        )
    hide_memory()
    name = f"{post.queue}.{secrets.token_hex(4)}"
    app = make_app(post, f"{name}@{socket.gethostname()}")
    options = [
        f"--queues={post.queue}",
        f"--hostname={name}@%h",
        "--pool=prefork",
        "--concurrency=1",
        "--loglevel=INFO",
    ]
    app.worker_main(["worker", *options, "--without-gossip", "--without-mingle", "--without-heartbeat"])


def make_app(post: Post, worker_id: str) -> Celery:
    """The Celery application of one worker, its task and its beginning and end."""
    assert post.settings.redis_url is not None
    app = celery_app(post.settings.redis_url)
    app.conf.worker_hijack_root_logger = False
    draining = multiprocessing.Event()
    here: list[Place] = []  # in the pool's process: what it runs jobs with

    @app.task(name=TASK)
    def run_next_job_task() -> str | None:
        return run_and_ring(here[0])

    def enter_process(**_: Any) -> None:
        hide_memory()
        here[:] = [open_place(post, worker_id, draining)]

    def start(**_: Any) -> None:
        # A connection does not survive a fork, so the presence of the worker has its own, made after it.
        place = open_place(post, worker_id, draining)
        sweep(place.jobs_dir)
        presence = Presence([place])
        presence.start()
        signals.worker_shutdown.connect(lambda **_: presence.stop(), weak=False)

    signals.worker_process_init.connect(enter_process, weak=False)
    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(lambda **_: draining.set(), weak=False)
    return app


def open_place(post: Post, worker_id: str, draining: Flag) -> Place:
    settings = post.settings
    assert settings.redis_url is not None
    blobs = open_blobs(settings)
    return Place(
        settings=settings,
        database=Database(settings.database_url, CeleryRings(settings.redis_url), pool_size=CONNECTIONS),
        blobs=blobs,
        cache=BlobCache(settings.data_dir / "cache", blobs, settings.cache_bytes),
        worker_id=worker_id,
        lane=post.lane,
        device_class=post.device_class,
        cuda_device=post.cuda_device,
        draining=draining,
        command=post.command,
    )


def run_and_ring(place: Place) -> str | None:
    """Run a job, and say so if there are more: rings are lost when they come while nobody is free."""
    job_id = run_next_job(place)
    if job_id is not None:
        with place.database.read() as session:
            more = claims.eligible(session, place.settings).get(place.queue, 0)
        if more:
            place.database.rings.ring(place.queue)
    return job_id
