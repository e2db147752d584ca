"""Rings through Celery's broker. Apart from `rings`, so that the embedded service never imports Celery."""

import time

import structlog
from celery import Celery

from store.rings import TASK

_SILENCE_S = 5.0
_PUBLISH_S = 2.0

log = structlog.get_logger(__name__)


class CeleryRings:
    """Puts one message in the queue. Never retries, never blocks for long, never raises."""

    def __init__(self, redis_url: str) -> None:
        self.celery = celery_app(redis_url, socket_timeout=_PUBLISH_S)
        self._silent_until = 0.0

    def ring(self, queue: str) -> bool:
        if time.monotonic() < self._silent_until:
            return False  # the broker was away a moment ago; no request shall wait for it again
        try:
            self.celery.send_task(TASK, queue=queue, retry=False, ignore_result=True)
        except Exception as error:  # kombu raises whatever its transport raises
            self._silent_until = time.monotonic() + _SILENCE_S
            log.warning("ring_failed", queue=queue, error=str(error))
            return False
        return True

    def close(self) -> None:
        self.celery.close()


def celery_app(redis_url: str, *, socket_timeout: float = 30.0) -> Celery:
    """Celery as we use it: early acknowledgement, no results, one message at a time, JSON only."""
    app = Celery("modelpress", broker=redis_url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_soft_shutdown_timeout=60.0,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_connect_timeout": 2.0,
            "socket_timeout": socket_timeout,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "modelpress:",
            "max_retries": 0,
        },
    )
    return app
