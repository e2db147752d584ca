"""A service to try: the API on a real server over loopback, and by hand what a worker would do."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from api.app import create_app
from modelpress.inspection import Inspection, LayerInfo
from modelpress.result import Candidate, Measurement, Result
from store import claims, contents, keys, leases, projects, uploads
from store.blobs import Blobs, open_blobs
from store.claims import Claimed
from store.database import Database
from store.settings import Settings

INSPECTION = Inspection(
    inputs=[],
    outputs=[],
    operators={},
    parameters=100,
    macs=1000,
    bytes=500,
    layers=[
        LayerInfo(
            name=name,
            type="Conv",
            weight_shape=[4, 3, 3, 3],
            parameters=108,
            macs=500,
            bytes=432,
            out_channels=4,
            output_shape=None,
        )
        for name in ("conv1", "conv2")
    ],
)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Service:
    """The API at `url`, a key of each scope to two projects, and the stores behind it."""

    settings: Settings
    database: Database
    blobs: Blobs
    url: str
    folder: Path
    key: str = ""
    other_key: str = ""
    project_id: str = ""
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def client(self, key: str | None = None) -> httpx.Client:
        """One client a key; safe to share between threads."""
        key = key or self.key
        if key not in self.clients:
            headers = {"Authorization": f"Bearer {key}"}
            self.clients[key] = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=60,
                limits=httpx.Limits(max_connections=None),
                trust_env=False,
                verify=False,
            )
        return self.clients[key]

    # -- what clients do

    def upload(self, content: bytes, *, client: httpx.Client | None = None) -> str:
        """Id of a completed upload, not verified yet."""
        client = client or self.client()
        body = {"filename": "a.bin", "size_bytes": len(content), "sha256": sha256_of(content)}
        upload = client.post("/v1/uploads", json=body).raise_for_status().json()
        if upload["state"] == "pending":
            size = upload["transfer"]["part_size"]
            for number in range(upload["transfer"]["parts"]):
                part = content[number * size : (number + 1) * size]
                client.put(f"/v1/uploads/{upload['id']}/parts/{number + 1}", content=part).raise_for_status()
            client.post(f"/v1/uploads/{upload['id']}/complete").raise_for_status()
        return upload["id"]

    def model(self, *, ready: bool = True, client: httpx.Client | None = None, content: bytes = b"an onnx file") -> str:
        client = client or self.client()
        upload_id = self.upload(content, client=client)
        model = client.post("/v1/models", json={"name": "m", "upload_id": upload_id}).raise_for_status().json()
        if ready:
            self.work_off("inspect")
        return model["id"]

    def job(self, *, client: httpx.Client | None = None, model_id: str | None = None, **fields: Any) -> dict[str, Any]:
        client = client or self.client()
        body = {"model_id": model_id or self.model(client=client), "recipe": [], "device": "cpu"} | fields
        return client.post("/v1/jobs", json=body).raise_for_status().json()

    # -- what a worker does

    def claim(self, lane: str = "device", worker_id: str = "worker-1") -> Claimed | None:
        with self.database.write() as session:
            return claims.claim(session, self.settings, worker_id, lane, ("cpu",))

    def work_off(self, lane: str) -> None:
        """Verify and inspect what waits."""
        while claimed := self.claim(lane):
            if claimed.kind == "verify":
                uploads.verify(self.database, self.blobs, claimed)
            else:
                result = Result(kind="inspect", inspection=INSPECTION.model_dump(mode="json"))
                with self.database.write() as session:
                    leases.finish(session, claimed.token, result)

    def succeed(self, claimed: Claimed, made: dict[str, bytes] | None = None) -> None:
        kept = []
        for name, content in (made or {}).items():
            path = self.folder / "made"
            path.write_bytes(content)
            found = contents.keep(self.database, self.blobs, claimed.project_id, path)
            kept.append(leases.Made(name, found.sha256, found.size_bytes))
        measured = Measurement(subject="original", metric="macs", value=1000.0)
        result = Result(candidates=[Candidate(name="original", step=-1, measurements=[measured])])
        with self.database.write() as session:
            leases.finish(session, claimed.token, result, kept)


def make_settings(folder: Path, database_url: str, **fields: Any) -> Settings:
    own = {"watch_seconds": 0.05, "ping_seconds": 0.3, "retry_backoff_seconds": 0.0, "requests_per_minute": 0}
    return Settings(data_dir=folder / "data", database_url=database_url, **(own | fields))


@contextmanager
def running(folder: Path, settings: Settings) -> Iterator[Service]:
    database, blobs = Database(settings.database_url, pool_size=20), open_blobs(settings)
    app = create_app(settings, database=database, blobs=blobs)
    with serving(app) as url:
        service = Service(settings, database, blobs, url, folder)
        with database.write() as session:
            project, other = projects.create(session, "ours"), projects.create(session, "theirs")
            service.project_id = project.id
            service.key = keys.issue(session, settings, project.id, "test")[1]
            service.other_key = keys.issue(session, settings, other.id, "test")[1]
        yield service
        for client in service.clients.values():
            client.close()
    database.close()


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The application on a free port, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
