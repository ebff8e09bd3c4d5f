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


def test_the_commands_complete_a_run_with_the_bits_of_one_process(
    tmp_path, namespaces, kustomize, operator_pods
):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    items = kustomize("pvc")
    made = operator_pods(next(item for item in items if item["kind"] == "DaskJob"), NAMESPACE)
    data, profile = tmp_path / "data", tmp_path / "profile"
    profile.mkdir()
    settings = next(item for item in items if item["kind"] == "ConfigMap")["data"]
    (profile / "cluster.toml").write_text(settings["cluster.toml"])
    run_distres("phantom", "blob", "--shape", "48", "--seed", "3", "-o", data / "input")
    for half in (1, 2):
        (data / f"input/blob_half{half}.mrc").rename(data / f"input/half{half}.mrc")

    scheduler = made["scheduler"]["spec"]["template"]["spec"]["containers"][0]
    worker = made["worker"]["spec"]["template"]["spec"]["containers"][0]
    name = made["service"]["metadata"]["name"]
    # The operator gives workers the full name of the service; here is no domain to search.
    full = next(e["value"] for e in worker["env"] if e["name"] == "DASK_SCHEDULER_ADDRESS")
    assert full == f"tcp://{name}.{NAMESPACE}.svc.cluster.local:8786"
    short = {"DASK_SCHEDULER_ADDRESS": f"tcp://{name}:8786"}
    pods = [name]
    (tmp_path / f"{name}.sh").write_text(command_of(scheduler, {}))
    (tmp_path / f"{name}.probe").write_text(probe_of(scheduler))
    for number in range(WORKERS):
        pod = f"worker-{number}"
        mounts = {"/data": data, "/tmp": tmp_path}
        variables = {**short, "DASK_WORKER_NAME": pod}
        (tmp_path / f"{pod}.sh").write_text(command_of(worker, mounts, variables=variables))
        (tmp_path / f"{pod}.probe").write_text(probe_of(worker))
        pods.append(pod)
    job = made["job"]["spec"]["containers"][0]
    mounts = {"/data": data, "/tmp": tmp_path, "/etc/distres": profile}
    (tmp_path / "runner.sh").write_text(command_of(job, mounts, variables=short))

    done = subprocess.run([*namespaces, PODS, tmp_path, *pods, "runner"], timeout=500)
    logs = "\n".join(file.read_text()[-1500:] for file in tmp_path.glob("*.log"))
    assert done.returncode == 0, logs
    run = data / "runs/localfsc"
    assert "10.244.0." in (tmp_path / "worker-0.log").read_text()

    halves = [data / f"input/half{half}.mrc" for half in (1, 2)]
    run_distres("localfsc", *halves, "--cluster", "none", "--output", tmp_path / "alone")
    maps = sorted(file.name for file in run.glob("*locres*.mrc"))
    assert maps
    for file in maps:
        assert (run / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()
