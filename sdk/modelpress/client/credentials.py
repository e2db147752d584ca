"""Where the service is and the key to it: given, in the environment, or left by an embedded service."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from modelpress.client.errors import NoService

HINT = "Start a service here with `modelpress-server up`, or set MODELPRESS_URL and MODELPRESS_API_KEY."


@dataclass(frozen=True)
class Credentials:
    base_url: str
    """Without a slash at its end."""
    api_key: str = field(repr=False)

    @property
    def is_loopback(self) -> bool:
        return httpx.URL(self.base_url).host in {"127.0.0.1", "localhost", "::1"}


def data_folder() -> Path:
    """The embedded service's data folder."""
    return Path(os.environ.get("MODELPRESS_DATA_DIR") or Path.home() / ".modelpress")


def find_credentials(base_url: str | None = None, api_key: str | None = None) -> Credentials:
    """Given, else MODELPRESS_URL and MODELPRESS_API_KEY, else the data folder's `url` and `key`.

    The embedded service's key goes to the embedded service's address and to no other.

    Raises:
        NoService: there is no address, no key, or the address is none.
    """
    folder = data_folder()
    embedded_url = _read(folder / "url")
    url = (base_url or os.environ.get("MODELPRESS_URL") or embedded_url or "").rstrip("/")
    if not url:
        raise NoService(f"no address was given and no embedded service left one in {folder}", hint=HINT)
    _check_address(url)
    key = api_key or os.environ.get("MODELPRESS_API_KEY")
    if not key and url == (embedded_url or "").rstrip("/"):
        key = _read(folder / "key")
    if not key:
        raise NoService(f"no API key for {url}", hint=HINT)
    return Credentials(url, key)


def _check_address(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NoService(f"{url!r} is not an address: {error}", hint=HINT) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise NoService(f"{url!r} is not an http or https address", hint=HINT)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
