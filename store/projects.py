"""Projects: who owns what. Everything but workers and the schema's version belongs to one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.database import now
from store.ids import new_id
from store.tables import AuditEntry, Project


def create(session: Session, name: str) -> Project:
    project = Project(id=new_id("prj"), name=name, created_at=now(session))
    session.add(project)
    session.flush()
    return project


def find(session: Session, name: str) -> Project | None:
    return session.scalars(select(Project).where(Project.name == name).order_by(Project.id).limit(1)).one_or_none()


def ensure(session: Session, name: str = "default") -> Project:
    return find(session, name) or create(session, name)


def audit(
    session: Session, project_id: str, key_id: str | None, action: str, subject: str, request_id: str | None
) -> None:
    """Write down who did what: keys made and revoked, things deleted, artifacts fetched."""
    session.add(
        AuditEntry(
            id=new_id("aud"),
            project_id=project_id,
            key_id=key_id,
            action=action,
            subject=subject,
            request_id=request_id,
            created_at=now(session),
        )
    )
    session.flush()
