"""What a user can get wrong is said in one sentence, with its exit code, before any computing."""

import sys

import mrcfile
import numpy as np
import pytest

from distres.cli.main import run


@pytest.fixture
def distres(folder, monkeypatch, capfd):
    """Run a command in this process, as the entry point would."""

    def call(*words):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["distres", *words])
        with pytest.raises(SystemExit) as stopped:
            run()
        return stopped.value.code, capfd.readouterr().err

    return call


def write(path, shape, seed, voxel=1.3):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    with mrcfile.new(path) as file:
        file.set_data(values)
        file.voxel_size = voxel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("refusals")
    write(place / "a_half1.mrc", (32, 32, 32), 1)
    write(place / "a_half2.mrc", (32, 32, 32), 2)
    write(place / "wide_half2.mrc", (32, 32, 40), 3)
    write(place / "coarse_half2.mrc", (32, 32, 32), 4, voxel=1.4)
    (place / "cut_half1.mrc").write_bytes((place / "a_half1.mrc").read_bytes()[:50_000])
    (place / "text_half1.mrc").write_text("no map at all")
    (place / "plain").write_text("a file")
    return place


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("a_half1.mrc", "wide_half2.mrc"), 3, ("40", "32")),
        (("a_half1.mrc", "coarse_half2.mrc"), 3, ("1.3", "1.4")),
        (("a_half1.mrc", "a_half1.mrc"), 3, ("two different halves",)),
        (("cut_half1.mrc", "a_half2.mrc"), 3, ("truncated", "50000")),
        (("text_half1.mrc", "a_half2.mrc"), 3, ("text_half1.mrc",)),
        (("a_half1.mrc", "-m", "wide_half2.mrc"), 3, ("40", "32")),
        (("a_half1.mrc", "-o", "plain"), 3, ("plain", "--output")),
        (("a_half1.mrc", "-o", "plain/below"), 3, ("plain/below", "--output")),
        (("a_half1.mrc", "--threshold", "2"), 2, ("2.0",)),
        (("a_half1.mrc", "--threshold", "0.5", "--threshold", "0.5"), 2, ("differ",)),
        (("a_half1.mrc", "--resolution-range", "300", "900"), 2, ("41.6",)),
        (("a_half1.mrc", "--memory", "lots"), 2, ("lots", "2GB")),
        (("a_half1.mrc", "--memory", "100MB"), 4, ("100 MB", "--memory")),
        (("a_half1.mrc", "--resume", "--overwrite"), 2, ("give one",)),
        (("a_half1.mrc", "--cluster", "tcp://127.0.0.1:9"), 4, ("127.0.0.1:9",)),
        (("a_half1.mrc", "--cluster", "nowhere.toml"), 2, ("nowhere.toml",)),
        (("a_half1.mrc", "--symmetry", "X9"), 2, ("X9", "C99")),
        (("a_half1.mrc", "--pg", "I", "--dry-run"), 2, ("--dry-run", "--symmetry")),
    ],
)
def test_each_mistake_has_its_sentence_and_code(distres, folder, words, code, said):
    cluster = () if "--cluster" in words else ("--cluster", "none")
    status, stderr = distres("localfsc", *words, *cluster)
    last = stderr.strip().splitlines()[-1]
    assert status == code, stderr
    assert "Traceback" not in stderr
    for text in said:
        assert text in last
    assert not (folder / "a_half1_localfsc" / "run.json").exists()


def test_a_gpu_that_is_not_there_is_said_before_anything_starts(distres):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    status, stderr = distres("localfsc", "a_half1.mrc", "--device", "cuda", "--cluster", "none")
    assert status == 2
    assert "--device cpu" in stderr
