"""A Celery worker that computes a script: `python -m tests.worker.celery_worker SCRIPT`, settings as variables."""

import sys

from store.logging import configure
from store.rings import DEVICE
from store.settings import Settings
from worker.celery_app import Post, serve


def main() -> None:
    configure()
    script = sys.argv[1]
    serve(Post(Settings(), DEVICE, command=lambda job_dir: [sys.executable, "-P", script, str(job_dir)]))


if __name__ == "__main__":
    main()
