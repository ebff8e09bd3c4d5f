"""What SLURM is given, as text, from the profiles that operators copy."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from distres.engine.profiles import Profile, read_profile
from distres.engine.slurm import render_job
from distres.engine.slurm_settings import LISTS, NUMBERS, TEXTS, read_settings

if find_spec("dask_jobqueue") is None:
    pytest.skip("the extra 'slurm' is not installed", allow_module_level=True)

GOLDEN = Path(__file__).parent / "golden"


def rendered(profile):
    # The folder of logs and the Python are those of this machine.
    text = render_job(profile, scheduler="tls://10.0.0.1:8786")
    text = text.replace(str(Path.cwd()), "/here")
    return re.sub(r"^\S+(?= -m distributed)", "python", text, flags=re.M)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_job_script_of_an_example_is_the_one_on_file(deploy, name):
    text = rendered(read_profile(str(deploy / "slurm" / f"{name}.toml")))
    file = GOLDEN / f"{name}.sh"
    if os.environ.get("DISTRES_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_a_profile_with_everything_reaches_the_script():
    settings = {
        "partition": "p",
        "account": "group",
        "walltime": "1-00:00:00",
        "gpus": 1,
        "gpu_type": "a100",
        "cpus": 3,
        "local_directory": "/scratch/$SLURM_JOB_ID",
        "interface": "ib0",
        "log_directory": "/logs",
        "python": "/opt/python",
        "job_extra_directives": ["--requeue", "--nice"],
        "prologue": ["module load x"],
    }
    profile = Profile(kind="slurm", workers=1, memory_bytes=4 * 10**9, settings=settings)
    text = rendered(profile)
    for words in (
        "#SBATCH -p p\n",
        "#SBATCH -A group\n",
        "#SBATCH -t 1-00:00:00\n",
        "#SBATCH --gres=gpu:a100:1\n",
        "#SBATCH --cpus-per-task=3\n",
        # 4.3e9 bytes in MiB, rounded up.
        "#SBATCH --mem=4101M\n",
        "#SBATCH --requeue\n",
        "#SBATCH -o /logs/distres-worker-%J.out\n",
        "\nmodule load x\n",
        '--local-directory "/scratch/$SLURM_JOB_ID"',
        "--interface ib0",
        "--resources GPU=1",
        "--nthreads 1 ",
        "--no-dashboard",
        # A day less twice 300 s.
        "--lifetime 85800s --lifetime-stagger 300s",
    ):
        assert words in text
    assert text.count("#SBATCH -n 1\n") == 1


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_every_line_that_an_example_comments_out_is_understood(deploy, tmp_path, name):
    text = (deploy / "slurm" / f"{name}.toml").read_text()
    file = tmp_path / "all.toml"
    file.write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.M))
    settings = read_settings(read_profile(str(file)))
    assert settings.texts["interface"] == "ib0"


def test_every_entry_of_a_profile_is_documented(deploy):
    page = (deploy.parent / "docs" / "clusters.md").read_text()
    for name in [*TEXTS, *LISTS, *NUMBERS, "tls", "dashboard", "workers", "memory"]:
        assert f"`{name}`" in page


@pytest.mark.parametrize("name", ["client.sbatch", "one_job.sbatch"])
def test_scripts_are_shell(deploy, name):
    subprocess.run(["bash", "-n", deploy / "slurm" / name], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", deploy / "slurm" / name], check=True)


def test_the_client_script_passes_its_arguments_and_a_signal_on(deploy, tmp_path):
    fake = tmp_path / "bin" / "distres"
    fake.parent.mkdir()
    fake.write_text(
        "#!/usr/bin/env bash\ntrap 'echo stopped; exit 130' TERM\n"
        'echo "$@ mem=${SLURM_MEM_PER_NODE:-unset} conf=$SLURM_CONF"\n'
        "for i in {1..100}; do sleep 0.1; done\n"
    )
    fake.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "SLURM_MEM_PER_NODE": "6144",
        "SLURM_CONF": "/etc/slurm.conf",
    }
    script = [deploy / "slurm" / "client.sbatch", "a b.mrc", "--output", "run"]
    process = subprocess.Popen(
        ["bash", *script], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    process.terminate()
    rest, _ = process.communicate(timeout=20)
    assert line == (
        "localfsc a b.mrc --output run --cluster slurm --resume mem=unset conf=/etc/slurm.conf\n"
    )
    assert rest == "stopped\n"
    assert process.returncode == 130
