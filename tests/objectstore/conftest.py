"""A real S3 server process (moto) on this machine, and a proxy before it that fails on demand."""

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

if importlib.util.find_spec("obstore") is None or importlib.util.find_spec("moto") is None:
    collect_ignore_glob = ["test_*"]


@pytest.fixture(scope="session")
def proxy_class():
    """Return the proxy's class: tests cannot import from their own folder."""
    spec = importlib.util.spec_from_file_location("proxy", Path(__file__).with_name("proxy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Proxy


@pytest.fixture(scope="session")
def server():
    """Start the server and return its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "moto_server"
    process = subprocess.Popen(
        [program, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 240
    try:
        while True:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not listen"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def proxy(server, proxy_class, monkeypatch):
    """Stand before the server; this process and its children reach S3 through it alone."""
    import boto3

    proxy = proxy_class(server, seed=7)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.address,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    from distres.io import stores

    stores._opened.cache_clear()
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server}").create_bucket(Bucket="bucket")
    yield proxy
    stores._opened.cache_clear()
    proxy.close()


@pytest.fixture
def bucket(proxy, request):
    """Return an address of this test's own."""
    return f"s3://bucket/{request.node.name.replace('[', '-').replace(']', '')}"
