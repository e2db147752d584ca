"""A store with projects in it, on either database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from modelpress.problem import Problem
from modelpress.resources import JobRequest, UploadRequest
from store import claims, jobs, projects, uploads
from store.blobs import LocalBlobs
from store.claims import Claimed
from store.database import Database, now
from store.ids import new_id
from store.scope import Scope
from store.settings import Settings
from store.tables import Job, Model, ModelFile, Project, Upload
from tests.workplace import INSPECTION, make_settings, sha256_of

TROUBLE = Problem(title="Trouble", status=500, code="trouble", detail="it broke")


@dataclass
class Store:
    settings: Settings
    database: Database
    blobs: LocalBlobs
    project: Project
    other: Project

    def scope(self, session: Session) -> Scope:
        return Scope(session, self.project)

    def upload(self, content: bytes = b"bytes", announced: bytes | None = None) -> str:
        """Id of an upload whose parts were sent and which waits for its verification."""
        meant = content if announced is None else announced
        request = UploadRequest(filename="a.onnx", size_bytes=len(meant), sha256=sha256_of(meant))
        with self.database.write() as session:
            upload = uploads.create(session, self.settings, self.blobs, self.project, request)
        if upload.staging is not None:
            asyncio.run(self.blobs.put_part(upload.staging, 1, 0, len(content), pieces(content)))
            with self.database.write() as session:
                row = session.get_one(type(upload), upload.id)
                uploads.complete(session, self.settings, self.blobs, row)
        return upload.id

    def ready_model(self) -> str:
        """A model that needs neither files nor inspection, for what is about jobs alone."""
        with self.database.write() as session:
            upload = Upload(
                id=new_id("upl"),
                project_id=self.project.id,
                filename="m",
                size_bytes=1,
                sha256="0" * 64,
                state="completed",
                mode="none",
                part_size=0,
                created_at=now(session),
            )
            model = Model(
                id=new_id("mdl"),
                project_id=self.project.id,
                name="m",
                state="ready",
                tags={},
                inspection=INSPECTION.model_dump(mode="json"),
                created_at=now(session),
            )
            session.add_all([upload, model])
            session.flush()
            session.add(
                ModelFile(
                    model_id=model.id, position=0, path="model.onnx", upload_id=upload.id, sha256="0" * 64, size_bytes=1
                )
            )
        return model.id

    def job(self, model_id: str | None = None, **fields: Any) -> str:
        body = {"model_id": model_id or self.ready_model(), "recipe": [], "device": "cpu"} | fields
        request = JobRequest.model_validate(body)
        with self.database.write() as session:
            return jobs.create(self.scope(session), self.settings, request, []).id

    def claim(
        self, lane: str = "device", worker: str = "worker-1", classes: tuple[str, ...] = ("cpu",)
    ) -> Claimed | None:
        with self.database.write() as session:
            return claims.claim(session, self.settings, worker, lane, classes)

    def claimed(self, **fields: Any) -> Claimed:
        self.job(**fields)
        found = self.claim()
        assert found is not None
        return found

    def row(self, job_id: str) -> Job:
        with self.database.read() as session:
            return session.get_one(Job, job_id)


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    settings = make_settings(tmp_path, database_url)
    database = Database(database_url, pool_size=20)
    with database.write() as session:
        project, other = projects.create(session, "ours"), projects.create(session, "theirs")
    yield Store(settings, database, LocalBlobs(tmp_path / "blobs"), project, other)
    database.close()
