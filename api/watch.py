"""Watching jobs: one short query for all who wait, however many they are."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from store.database import Database
from store.tables import Job

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Glimpse:
    """What of a job can change under a watcher's eyes."""

    state: str
    last_seq: int
    progress: str


def glimpse(job: Any) -> Glimpse:
    return Glimpse(job.state, job.last_seq, json.dumps(job.progress, sort_keys=True))


class Watcher:
    """Looks at all watched jobs every `seconds` and wakes who waits for one that changed."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._watched: Counter[str] = Counter()
        self._seen: dict[str, Glimpse] = {}
        self._round = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def changed(self, job_id: str, known: Glimpse, seconds: float) -> bool:
        """Wait until the job is no longer as `known`, at most so long; whether it changed."""
        with self._watching(job_id):
            try:
                async with asyncio.timeout(seconds):
                    while self._seen.get(job_id, known) == known:
                        await self._round.wait()
            except TimeoutError:
                return False
        return True

    @contextmanager
    def _watching(self, job_id: str) -> Iterator[None]:
        self._watched[job_id] += 1
        try:
            yield
        finally:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]
                self._seen.pop(job_id, None)

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            if not self._watched:
                continue
            try:
                seen = await run_in_threadpool(self._look, list(self._watched))
            except SQLAlchemyError as error:  # away for a moment; streams go on when it is back
                log.warning("watch_failed", error=type(error).__name__)
                continue
            self._seen = {job_id: each for job_id, each in seen.items() if job_id in self._watched}
            done, self._round = self._round, asyncio.Event()
            done.set()

    def _look(self, job_ids: list[str]) -> dict[str, Glimpse]:
        with self._database.read() as session:
            rows = session.execute(select(Job.id, Job.state, Job.last_seq, Job.progress).where(Job.id.in_(job_ids)))
            return {row.id: glimpse(row) for row in rows}
