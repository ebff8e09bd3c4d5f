"""What a profile of kind slurm means, and what is refused before SLURM is asked."""

import pytest

from distres.engine.profiles import Profile
from distres.engine.slurm import open_slurm, render_job
from distres.engine.slurm_settings import parse_walltime, read_settings
from distres.errors import ClusterError, UsageError

pytest.importorskip("dask_jobqueue", reason="the extra 'slurm' is not installed")

GOOD = {"walltime": "00:10:00"}


def profile(**settings):
    return Profile(kind="slurm", workers=2, memory_bytes=10**9, settings={**GOOD, **settings})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("01:02:03", 3723),
        ("2-12", 216000),
        ("1-00:30", 88200),
        ("1-01:01:01", 90061),
    ],
)
def test_walltimes_are_read_as_slurm_does(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"walltime": "soon"}, "walltime 'soon' is not understood"),
        ({"walltime": "00:30"}, "too short"),
        ({"walltime": None}, "needs walltime"),
        ({"queue": "gpu"}, "does not know 'queue'"),
        ({"gpus": 4}, "ask for 4 times as many workers"),
        ({"gpus": "two"}, "whole number of 0 or more"),
        ({"prologue": "module load x"}, "must be a list of texts"),
        ({"tls": "yes"}, "true or false"),
        ({"patience_seconds": 0}, "above 0"),
    ],
)
def test_a_mistake_in_a_profile_is_named(changes, words):
    with pytest.raises(UsageError) as caught:
        read_settings(profile(**changes))
    assert words in str(caught.value)


@pytest.mark.parametrize("walltime", ["2", "00:10:00", "04:00:00", "2-00:00:00"])
def test_workers_end_before_their_job_does(walltime):
    settings = read_settings(profile(walltime=walltime))
    lifetime, stagger = settings.lifetime_seconds
    wall = parse_walltime(walltime)
    # Dask draws the lifetime from lifetime +- stagger.
    assert wall / 2 < lifetime - stagger
    assert lifetime + stagger <= wall - min(wall / 10, 300) + 1


def test_sizes_must_be_given(tmp_path):
    with pytest.raises(UsageError, match="--workers"):
        read_settings(Profile(kind="slurm", memory_bytes=1, settings=GOOD))
    with pytest.raises(UsageError, match="--memory"):
        read_settings(Profile(kind="slurm", workers=1, settings=GOOD))


def test_a_bare_name_finds_the_profile_of_the_site(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTRES_PROFILES", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    bare = Profile(kind="slurm", workers=3)
    with pytest.raises(UsageError, match=r"needs a profile that says how.*slurm\.toml"):
        render_job(bare)
    text = 'kind = "slurm"\nmemory = "2GB"\nwalltime = "60"\npartition = "site"\n'
    (tmp_path / "slurm.toml").write_text(text)
    assert "#SBATCH -p site" in render_job(bare)
    (tmp_path / "slurm.toml").write_text('kind = "local"\n')
    with pytest.raises(UsageError, match="must be of kind 'slurm', not 'local'"):
        render_job(bare)


def test_a_machine_without_slurm_is_told_so_in_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ClusterError, match="sbatch was not found; start distres where"):
        open_slurm(profile()).__enter__()


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"pip install 'distres\[slurm\]'"):
        open_slurm(profile()).__enter__()


def test_an_interface_that_this_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name)
    with pytest.raises(UsageError, match=r"no network interface 'ib7' but .*lo"):
        open_slurm(profile(interface="ib7")).__enter__()
