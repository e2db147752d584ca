"""What every type of the contract shares: strict on the way in, lenient on the way out."""

from pydantic import BaseModel, ConfigDict

CONTRACT = 1
"""Version of these types as they lie in rows and job folders; a worker claims only what it knows."""


class Request(BaseModel):
    """Something a user says: what is unknown is refused, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class Answer(BaseModel):
    """Something we say: what a newer server adds is kept."""

    model_config = ConfigDict(extra="allow")
