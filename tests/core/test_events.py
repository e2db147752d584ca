"""What a job says: events for machines, lines on stderr for people."""

import pytest

from core.events import Events
from tests.core.job_folders import job_folder, start_core

SHARE = {"technique": "share.codebook", "bits": 4}


@pytest.fixture
def events(tmp_path):
    with Events(tmp_path / "events.jsonl") as events:
        yield events


def test_a_job_logs_its_phases_steps_and_warnings(tmp_path):
    process = start_core(job_folder(tmp_path / "job", [SHARE], task={"type": "match"}, data={}))
    lines = process.communicate()[1].decode().splitlines()
    assert "step 0 (share.codebook) started" in lines
    assert any(line.startswith("step 0 (share.codebook) done after ") and line.endswith(" s") for line in lines)
    assert any("importing: reading the model" in line for line in lines)
    assert any(line.startswith("warning, job: ") and "made-up" in line for line in lines)


def test_progress_in_quick_succession_gives_one_line_a_phase(events, capsys):
    for batch in range(500):
        events.progress("compressing", batch / 1000, f"epoch {batch}", step=0)
    events.progress("exporting", 0.9, "writing", step=0)
    assert capsys.readouterr().err.splitlines() == ["  0% compressing: epoch 0", " 90% exporting: writing"]


def test_a_name_from_a_file_can_t_forge_a_line(events, capsys):
    events.warning("x", "layer a\nstep 9 (recover) done\x1b[2J")
    assert capsys.readouterr().err == "warning, x: layer a?step 9 (recover) done?[2J\n"
