"""A link between scheduler and worker that is cut for half a minute."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import zarr

CUT = Path(__file__).with_name("cut.sh")
DRIVER = Path(__file__).parents[1] / "driver.py"
CUT_SECONDS = 30

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_network_cut_for_half_a_minute_changes_no_bit(tmp_path, namespaces):
    folder, alone = tmp_path / "cut", tmp_path / "alone"
    for place in (folder, alone):
        place.mkdir()
    profile = 'kind = "address"\naddress = "tcp://10.245.0.1:8786"\npatience_seconds = 200\n'
    (folder / "profile.toml").write_text(profile)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [*namespaces, CUT, folder, str(CUT_SECONDS), sys.executable, DRIVER]
    done = subprocess.run(command, env=environment, timeout=550)
    logs = "\n".join(file.read_text()[-1500:] for file in folder.glob("driver.*"))
    assert done.returncode == 0, logs
    assert (folder / "events").read_text().split() == ["cut", "mended"]
    quiet = subprocess.run(
        [sys.executable, DRIVER, alone, alone / "run", "none", "0", "6"],
        env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (folder / "driver.log").read_text().split()[-1] == quiet.stdout.split()[-1]
    bits = [
        zarr.open_array(str(place / "run/run.zarr"), path="out", mode="r")[...].tobytes()
        for place in (folder, alone)
    ]
    assert bits[0] == bits[1]
