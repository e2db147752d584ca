"""API keys of the project, for those who hold an admin's."""

from datetime import datetime

from modelpress.client.effects import Items, Mode, Op, iteration, operation
from modelpress.client.resource import Resource
from modelpress.client.transport import segment
from modelpress.resources import ApiKey, ApiKeyRequest
from modelpress.validation import parse_request


class Keys(Resource[Mode]):
    """Who else may use the project."""

    @operation
    def create(self, name: str, *, scope: str = "write", expires_at: datetime | None = None) -> Op[ApiKey]:
        """A new key; its text is in this answer and nowhere else."""
        request = parse_request(ApiKeyRequest, {"name": name, "scope": scope, "expires_at": expires_at})
        body = request.model_dump(mode="json", exclude_none=True)
        return (yield from self._read(ApiKey, "POST", "/v1/api_keys", json=body, creates=True))

    @iteration
    def list(self) -> Items[ApiKey]:
        """All keys without their texts, newest first."""
        yield from self._all(ApiKey, "/v1/api_keys")

    @operation
    def revoke(self, key_id: str) -> Op[None]:
        """Make a key stop working at once."""
        yield from self._transport.call("DELETE", f"/v1/api_keys/{segment(key_id)}")
