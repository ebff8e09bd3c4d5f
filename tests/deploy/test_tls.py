"""Keys: made once, private, and without them nobody speaks to a scheduler."""

import json
import ssl
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from distres.cli.main import app
from distres.engine.cluster import open_executor
from distres.engine.profiles import Profile
from distres.engine.security import ROLES, security_of, write_certificates
from distres.errors import ClusterError, OutputExistsError, UsageError

if find_spec("cryptography") is None:
    pytest.skip("the extra 'tls' is not installed", allow_module_level=True)


def tls_files(folder, role):
    return {
        "tls_ca_file": str(folder / "ca.pem"),
        "tls_cert": str(folder / f"{role}.pem"),
        "tls_key": str(folder / f"{role}-key.pem"),
    }


def test_only_their_owner_can_read_keys(tmp_path):
    files = write_certificates(tmp_path / "tls", hosts=("node7", "10.0.0.1"))
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert len(files) == 2 * (1 + len(ROLES))


def test_each_key_fits_its_certificate_and_the_authority_signed_it(tmp_path):
    write_certificates(tmp_path, hosts=("node7", "10.0.0.1"), days=3)
    for role in ROLES:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        context.load_cert_chain(tmp_path / f"{role}.pem", tmp_path / f"{role}-key.pem")
        from cryptography import x509

        certificate = x509.load_pem_x509_certificate((tmp_path / f"{role}.pem").read_bytes())
        root = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
        certificate.verify_directly_issued_by(root)
        lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert 3 <= lasts.total_seconds() / 86400 < 3.1


def test_keys_are_never_replaced(tmp_path):
    write_certificates(tmp_path)
    with pytest.raises(OutputExistsError, match="name another directory"):
        write_certificates(tmp_path)


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ClusterError, match=r"pip install 'distres\[tls\]'"):
        write_certificates(tmp_path)


def test_tls_files_come_together_and_exist(tmp_path):
    write_certificates(tmp_path)
    some = tls_files(tmp_path, "worker")
    assert security_of(Profile(kind="slurm")) is None
    assert security_of(Profile(kind="slurm", settings=some)).require_encryption
    with pytest.raises(UsageError, match="tls_key is missing"):
        security_of(Profile(kind="slurm", settings={**some, "tls_key": None}))
    with pytest.raises(UsageError, match="does not exist"):
        security_of(Profile(kind="slurm", settings={**some, "tls_key": "/none"}))


def test_the_command_makes_keys_and_says_how_to_use_them(tmp_path):
    result = CliRunner().invoke(app, ["cluster", "certs", str(tmp_path / "tls")])
    assert result.exit_code == 0
    assert f'tls_ca_file = "{tmp_path}/tls/ca.pem"' in result.stdout


def options(folder, role):
    files = tls_files(folder, role)
    return [word for name, file in files.items() for word in (f"--{name.replace('_', '-')}", file)]


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and a worker that speak TLS only; return the scheduler's address."""
    write_certificates(tmp_path / "tls")
    note = tmp_path / "scheduler.json"
    module = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*module, "distributed.cli.dask_scheduler", *options(tmp_path / "tls", "scheduler"),
         "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", note],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 240
    while not note.exists() or not note.read_text().endswith("}"):
        assert time.monotonic() < end
        time.sleep(0.2)
    worker = subprocess.Popen(
        [*module, "distributed.cli.dask_worker", *options(tmp_path / "tls", "worker"),
         "--protocol", "tls", "--nthreads", "1", "--memory-limit", "1GB", "--no-dashboard",
         "--scheduler-file", note, "--local-directory", tmp_path, "--death-timeout", "240"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield json.loads(note.read_text())["address"]
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(120)


def profile(tmp_path, address, files):
    file = tmp_path / "cluster.toml"
    lines = [f'{name} = "{value}"' for name, value in {"address": address, **files}.items()]
    file.write_text("\n".join(['kind = "address"', "patience_seconds = 240", *lines]))
    return str(file)


@pytest.mark.cluster
def test_a_client_with_keys_of_the_authority_is_served_and_others_are_not(tmp_path, cluster):
    assert cluster.startswith("tls://")
    with open_executor(profile(tmp_path, cluster, tls_files(tmp_path / "tls", "client"))) as found:
        assert found.client.submit(sum, [1, 2]).result(timeout=60) == 3
        workers = found.client.scheduler_info()["workers"]
        assert all(worker.startswith("tls://") for worker in workers)
    write_certificates(tmp_path / "strange")
    strange = profile(tmp_path, cluster, tls_files(tmp_path / "strange", "client"))
    with pytest.raises(ClusterError, match="no scheduler answers"), open_executor(strange):
        pass
    plain = cluster.replace("tls://", "tcp://")
    with pytest.raises(ClusterError, match="no scheduler answers"), open_executor(plain):
        pass
