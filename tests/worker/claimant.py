"""A worker in a process of its own, until no job is left: `python -m tests.worker.claimant SETTINGS SCRIPT WORKER`."""

import sys
from pathlib import Path

from store.blobs import open_blobs
from store.cache import BlobCache
from store.database import Database
from store.rings import DEVICE
from store.settings import Settings
from worker.place import Place
from worker.protect import hide_memory
from worker.supervise import run_next_job


def main() -> None:
    settings, script, worker_id = Settings.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3]
    hide_memory()
    blobs = open_blobs(settings)
    place = Place(
        settings=settings,
        database=Database(settings.database_url, pool_size=5),
        blobs=blobs,
        cache=BlobCache(settings.data_dir / "cache", blobs, settings.cache_bytes),
        worker_id=worker_id,
        lane=DEVICE,
        command=lambda job_dir: [sys.executable, "-P", script, str(job_dir)],
    )
    Path(script).with_suffix(f".{worker_id}").touch()
    while run_next_job(place):
        pass


if __name__ == "__main__":
    main()
