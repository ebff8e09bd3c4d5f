"""The containers' own commands, as the operator would start them, carry a run from end to end."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PODS = Path(__file__).parent / "pods.sh"
NAMESPACE = "lab"
WORKERS = 2

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


def command_of(container, mounts, *, variables=()):
    """Return a shell script that starts a container's command with its environment."""
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    environment.update(variables)

    def place(text):
        inside = next((path for path in mounts if f"{text}/".startswith(f"{path}/")), None)
        if inside is not None:
            text = f"{mounts[inside]}{text[len(inside) :]}"
        return re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], text)

    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines.append("exec " + shlex.join(place(word) for word in container["args"]))
    return "\n".join([f"export PATH={Path(sys.executable).parent}:$PATH", *lines, ""])


def probe_of(container):
    probe = container["readinessProbe"]["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return f"http://127.0.0.1:{ports[probe['port']]}{probe['path']}"


def run_distres(*arguments):
    subprocess.run([Path(sys.executable).parent / "distres", *map(str, arguments)], check=True)


@pytest.fixture
def deployed(tmp_path, namespaces, kustomize, operator_pods):
    """Run a variant's pods as processes, and return the folder of the job's volume."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def run(variant, *, shared, before=(), variables=(), changed=()):
        items = kustomize(variant)
        job = next(item for item in items if item["kind"] == "DaskJob")
        made = operator_pods(job, NAMESPACE)
        data, profile = tmp_path / "data", tmp_path / "profile"
        profile.mkdir()
        settings = next(item for item in items if item["kind"] == "ConfigMap")["data"]
        (profile / "cluster.toml").write_text(settings["cluster.toml"])

        scheduler = made["scheduler"]["spec"]["template"]["spec"]["containers"][0]
        worker = made["worker"]["spec"]["template"]["spec"]["containers"][0]
        name = made["service"]["metadata"]["name"]
        # The operator gives workers the full name of the service; here is no domain to search.
        full = next(e["value"] for e in worker["env"] if e["name"] == "DASK_SCHEDULER_ADDRESS")
        assert full == f"tcp://{name}.{NAMESPACE}.svc.cluster.local:8786"
        short = {"DASK_SCHEDULER_ADDRESS": f"tcp://{name}:8786", **dict(variables)}
        pods = [*before, name]
        (tmp_path / f"{name}.sh").write_text(command_of(scheduler, {}))
        (tmp_path / f"{name}.probe").write_text(probe_of(scheduler))
        for number in range(WORKERS):
            pod = f"worker-{number}"
            mounts = {"/data": data if shared else tmp_path / f"{pod}-data", "/tmp": tmp_path}
            mounts["/data"].mkdir(exist_ok=True)
            own = {**short, "DASK_WORKER_NAME": pod}
            (tmp_path / f"{pod}.sh").write_text(command_of(worker, mounts, variables=own))
            (tmp_path / f"{pod}.probe").write_text(probe_of(worker))
            pods.append(pod)
        container = made["job"]["spec"]["containers"][0]
        words = [dict(changed).get(word, word) for word in container["args"]]
        mounts = {"/data": data, "/tmp": tmp_path, "/etc/distres": profile}
        script = command_of({**container, "args": words}, mounts, variables=short)
        # What the job needs is there before it starts, as a user would see to.
        wait = "".join(
            f"until [ -e {tmp_path}/{pod}.ready ]; do sleep 0.5; done\n" for pod in before
        )
        (tmp_path / "runner.sh").write_text(wait + script)

        done = subprocess.run([*namespaces, PODS, tmp_path, *pods, "runner"], timeout=500)
        logs = "\n".join(file.read_text()[-1500:] for file in tmp_path.glob("*.log"))
        assert done.returncode == 0, logs
        assert "10.244.0." in (tmp_path / "worker-0.log").read_text()
        return data

    return run


@pytest.fixture
def halves(tmp_path):
    place = tmp_path / "data/input"
    run_distres("phantom", "blob", "--shape", "48", "--seed", "3", "-o", place)
    return [(place / f"blob_half{n}.mrc").rename(place / f"half{n}.mrc") for n in (1, 2)]


def assert_bits_of_one_process(run, halves, alone):
    run_distres("localfsc", *halves, "--cluster", "none", "--output", alone)
    maps = sorted(file.name for file in run.glob("*locres*.mrc"))
    assert maps
    for file in maps:
        assert (run / file).read_bytes() == (alone / file).read_bytes()


def test_the_commands_complete_a_run_with_the_bits_of_one_process(tmp_path, deployed, halves):
    data = deployed("pvc", shared=True)
    assert_bits_of_one_process(data / "runs/localfsc", halves, tmp_path / "alone")


def test_workers_that_share_only_an_object_store_complete_a_run(tmp_path, deployed, halves):
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    keys = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab", "AWS_REGION": "us-east-1"}
    keys["AWS_ENDPOINT_URL"] = "http://s3:5000"
    create = "import boto3; boto3.client('s3').create_bucket(Bucket='example-bucket')"
    lines = [f"export {name}={value}" for name, value in keys.items()]
    lines += [
        f"export PATH={Path(sys.executable).parent}:$PATH",
        "moto_server --host 0.0.0.0 --port 5000 &",
        "until curl --silent --output /dev/null http://s3:5000; do sleep 0.5; done",
        f'python -c "{create}"',
        *(
            f"distres convert {half} s3://example-bucket/half{number}.zarr"
            for number, half in enumerate(halves, 1)
        ),
        f"touch {tmp_path}/s3.ready",
        "wait",
    ]
    (tmp_path / "s3.sh").write_text("\n".join([f"cd {tmp_path}", *lines, ""]))
    data = deployed("s3", shared=False, before=["s3"], variables=keys.items())
    run = data / "runs/localfsc"
    assert not (run / "run.zarr").exists()
    for number in range(WORKERS):
        assert not list((tmp_path / f"worker-{number}-data").iterdir())
    assert_bits_of_one_process(run, halves, tmp_path / "alone")


def test_workers_that_offer_gpus_but_have_none_complete_a_run_and_say_so(
    tmp_path, deployed, halves
):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    # `--device cuda` of the manifest would be refused, as tests/engine/test_devices.py shows.
    data = deployed("gpu", shared=True, changed={"cuda": "auto"}.items())
    said = " ".join((tmp_path / "runner.log").read_text().split())
    assert "torch finds none in any worker" in said
    assert_bits_of_one_process(data / "runs/localfsc", halves, tmp_path / "alone")
