from pathlib import Path

import pytest

from modelpress.client import NoService
from modelpress.client.credentials import find_credentials

URL = "http://127.0.0.1:8642"


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and nothing of this machine's own settings."""
    monkeypatch.delenv("MODELPRESS_URL", raising=False)
    monkeypatch.delenv("MODELPRESS_API_KEY", raising=False)
    monkeypatch.setenv("MODELPRESS_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def embedded(data_folder: Path) -> Path:
    (data_folder / "url").write_text(f"{URL}\n")
    (data_folder / "key").write_text("mp_dev_embedded\n")
    return data_folder


def test_an_embedded_service_is_found_by_what_it_left(embedded: Path):
    found = find_credentials()
    assert (found.base_url, found.api_key) == (URL, "mp_dev_embedded")


def test_the_environment_wins_over_the_embedded_service(embedded: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELPRESS_URL", "https://press.example/")
    monkeypatch.setenv("MODELPRESS_API_KEY", "mp_live_1")
    found = find_credentials()
    assert (found.base_url, found.api_key) == ("https://press.example", "mp_live_1")


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODELPRESS_URL", "https://press.example")
    monkeypatch.setenv("MODELPRESS_API_KEY", "mp_live_1")
    found = find_credentials("https://other.example", "mp_live_2")
    assert (found.base_url, found.api_key) == ("https://other.example", "mp_live_2")


def test_the_embedded_key_goes_to_the_embedded_service_only(embedded: Path):
    assert find_credentials(f"{URL}/").api_key == "mp_dev_embedded"
    with pytest.raises(NoService, match="no API key for https://press"):
        find_credentials("https://press.example")


def test_without_any_service_it_says_how_to_get_one():
    with pytest.raises(NoService) as raised:
        find_credentials()
    assert "modelpress-server up" in raised.value.hint


@pytest.mark.parametrize("address", ["press.example", "ftp://press.example", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(NoService):
        find_credentials(address, "k")
