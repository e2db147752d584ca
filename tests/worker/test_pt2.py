"""The operator's switch for .pt2 files, as the computation sees it."""

import pytest

from worker.supervise import run_next_job

from .conftest import MakeWorld

SAYS_WHAT_IT_SEES = """
say(type="warning", code="seen", message=os.environ["MODELPRESS_ALLOW_PT2"])
end(1)
"""


@pytest.mark.parametrize(("settings", "seen"), [({}, "0"), ({"allow_pt2": True}, "1")])
def test_the_computation_learns_the_operators_setting(
    make_world: MakeWorld, sqlite_url: str, settings: dict[str, bool], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(sqlite_url, **settings)
    job_id = world.job(max_attempts=1)
    monkeypatch.setenv("MODELPRESS_ALLOW_PT2", "1")  # not the worker's environment but its settings decide
    run_next_job(world.place(SAYS_WHAT_IT_SEES))
    assert [event["message"] for event in world.events(job_id, "warning") if event["code"] == "seen"] == [seen]
