"""All settings of the service, in one place, each with its reason.

Read from the environment (`MODELPRESS_...`) or, for secrets, from files of the same name in
`MODELPRESS_SECRETS_DIR`. With nothing set, the service is the embedded one: SQLite and a local folder.
"""

import os
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

MIB = 2**20
GIB = 2**30


def default_data_dir() -> Path:
    return Path.home() / ".modelpress"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MODELPRESS_", extra="ignore")

    # where things are
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Of the embedded service: database, blobs, key."
    )
    database_url: str = Field("", description="SQLAlchemy address of the app's role; empty means SQLite in `data_dir`.")
    owner_database_url: str = Field("", description="Of the role that owns the tables; empty means the same.")
    redis_url: str | None = Field(None, description="Celery's broker; none means embedded: threads, no broker.")
    s3_endpoint: str | None = Field(None, description="Where API and workers reach it; none means AWS.")
    s3_public_endpoint: str | None = Field(None, description="Where clients reach it; none: through the API.")
    s3_bucket: str | None = Field(None, description="None means a local folder in `data_dir`.")
    s3_region: str = "us-east-1"
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_addressing_style: str = Field("path", description="`path` works everywhere; AWS prefers `virtual`.")
    public_url: str = Field("", description="Address of this service in answers; empty leaves relative paths.")

    # who
    environment: str = Field("dev", pattern=r"^[a-z0-9]{1,8}$", description="Shown in keys: mp_<environment>_...")
    key_pepper: SecretStr = Field(SecretStr(""), description="Mixed into the hash of keys; changing it voids them.")

    # running jobs, in seconds
    lease_seconds: float = Field(120.0, gt=0, description="A worker silent for so long loses its job.")
    beat_seconds: float = Field(20.0, gt=0, description="At least three beats a lease.")
    poll_seconds: float = Field(1.0, gt=0, description="How often a supervisor looks for cancel and new events.")
    grace_seconds: float = Field(0.5, ge=0, description="Between SIGTERM and SIGKILL on cancel.")
    drain_seconds: float = Field(60.0, ge=0, description="What a draining worker's child gets to save itself.")
    re_ring_seconds: float = Field(30.0, gt=0, description="How often the keeper rings queues that wait.")
    worker_seen_seconds: float = Field(60.0, gt=0, description="A worker silent for longer does not count as live.")
    retry_backoff_seconds: float = Field(30.0, ge=0, description="Wait before the second attempt; doubles each time.")
    max_attempts: int = Field(3, ge=1)
    max_job_memory: int | None = Field(None, gt=0, description="Bytes; none means what the worker's machine allows.")
    max_inspect_memory: int = Field(8 * GIB, gt=0, description="Bytes; bounds files that declare huge tensors.")
    inspect_seconds: float = Field(600.0, gt=0, description="Most seconds an inspection or a verification may run.")
    allow_pt2: bool = Field(False, description="Whether torch.export archives (.pt2) are opened: rewritten, sandboxed.")
    cache_bytes: int = Field(20 * GIB, ge=0, description="A worker's cache of blobs on its own disk.")

    # quotas of a project, unless its row says otherwise
    max_running_jobs: int = Field(50, ge=1)
    max_queued_jobs: int = Field(10_000, ge=1)
    max_stored_bytes: int = Field(500 * GIB, ge=1)
    requests_per_minute: int = Field(3000, ge=0, description="Of a key, in each API process; 0 means no limit.")

    # sizes
    max_body_bytes: int = Field(2 * MIB, ge=1, description="Of a JSON request.")
    max_upload_bytes: int = Field(50 * GIB, ge=1)
    part_bytes: int = Field(16 * MIB, ge=5 * MIB, description="S3 wants at least 5 MiB and at most 10,000 parts.")
    upload_hours: float = Field(24.0, gt=0, description="An upload not completed by then is dropped.")
    part_idle_seconds: float = Field(60.0, gt=0, description="A part whose sender is silent for so long is dropped.")
    max_events: int = Field(10_000, ge=10, description="Rows a job; later ones are dropped, state changes never.")
    log_bytes: int = Field(10 * MIB, ge=1024, description="Kept of a job's log: the first half and the last half.")
    presign_seconds: int = Field(900, ge=60, le=3600, description="How long a signed address works.")
    blob_grace_hours: float = Field(24.0, ge=0, description="A blob nobody refers to is kept for so long.")

    # what clients notice
    watch_seconds: float = Field(0.5, gt=0, description="How often the one query behind all event streams runs.")
    ping_seconds: float = Field(15.0, gt=0, description="Silence on an event stream is broken by a comment.")
    wait_seconds: float = Field(60.0, gt=0, description="Longest `Prefer: wait`.")
    idempotency_hours: float = Field(48.0, gt=0)

    @staticmethod
    def own_database_url(data_dir: Path) -> str:
        """Of the SQLite database that the one process on this folder has for itself."""
        return f"sqlite:///{data_dir / 'modelpress.db'}"

    @model_validator(mode="after")
    def fill_in(self) -> "Settings":
        self.data_dir = self.data_dir.expanduser().absolute()
        self.database_url = self.database_url or self.own_database_url(self.data_dir)
        self.owner_database_url = self.owner_database_url or self.database_url
        if self.beat_seconds * 3 > self.lease_seconds:
            raise ValueError(f"lease_seconds ({self.lease_seconds:g}) must be three times beat_seconds or more")
        if self.redis_url and not self.s3_bucket:
            raise ValueError("Celery workers can't share a local blob folder: set MODELPRESS_S3_BUCKET too")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given wins over the environment, and that over secret files; no `.env` of some folder is read."""
        secrets = SecretsSettingsSource(settings_cls, os.environ.get("MODELPRESS_SECRETS_DIR"))
        return init_settings, env_settings, secrets

    @property
    def is_embedded(self) -> bool:
        return self.redis_url is None

    @property
    def key_file(self) -> Path:
        """Where the embedded service leaves its key for SDK and command line."""
        return self.data_dir / "key"
