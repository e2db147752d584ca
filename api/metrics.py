"""Figures for Prometheus. What matters is in the database, so every API process tells the same."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from store import workers
from store.database import Database, now
from store.settings import Settings
from store.tables import Job

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Counts and times, in Prometheus' text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


class JobFigures(Collector):
    """Counted when asked."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings

    def describe(self) -> list[Metric]:
        return []  # or the registry would ask the database when the application is built

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("modelpress_jobs", "Jobs by state.", labels=["lane", "device", "state"])
        oldest = GaugeMetricFamily("modelpress_oldest_queued_seconds", "Age of the oldest queued job.", labels=["lane"])
        live = GaugeMetricFamily("modelpress_workers", "Workers seen lately.", labels=["queue"])
        late = GaugeMetricFamily("modelpress_expired_leases", "Leases that ran out and were not reaped yet.")
        with self._database.read() as session:
            moment = now(session)
            counts = select(Job.lane, Job.device_class, Job.state, func.count()).group_by(
                Job.lane, Job.device_class, Job.state
            )
            for lane, device, state, count in session.execute(counts):
                jobs.add_metric([lane, device, state], count)
            waiting = select(Job.lane, func.min(Job.queued_at)).where(Job.state == "queued").group_by(Job.lane)
            for lane, since in session.execute(waiting):
                oldest.add_metric([lane], (moment - since).total_seconds() if since else 0.0)
            for queue, count in workers.live(session, self._settings).items():
                live.add_metric([queue], count)
            expired = select(func.count(Job.id)).where(Job.lease_expires_at < moment)
            late.add_metric([], session.scalars(expired).one())
        yield from (jobs, oldest, live, late)


def registry(database: Database, settings: Settings) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(JobFigures(database, settings))
    return made
