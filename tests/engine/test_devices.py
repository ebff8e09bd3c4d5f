"""Which device computes, decided without one."""

import os
from types import SimpleNamespace

import pytest

from distres.engine import devices
from distres.engine.cluster import Executor
from distres.engine.devices import OneDevice, fit_to_devices, local_workers, visible_devices
from distres.errors import ClusterError


def executor(found, offered=None, **settings):
    """Make workers that say what memory their devices have, and what they offer to Dask."""
    plugins = []
    workers = {number: {"resources": offered or {}} for number in range(len(found))}
    client = SimpleNamespace(
        run=lambda function: dict(enumerate(found)),
        register_plugin=plugins.append,
        scheduler_info=lambda n_workers: {"workers": workers},
    )
    made = Executor(
        **{"client": client, "workers": len(found), "memory_bytes": 8 * 10**9, "kind": "slurm"}
        | settings
    )
    return made, plugins


def test_without_a_driver_nothing_is_loaded_and_no_device_found(monkeypatch):
    monkeypatch.setattr(devices, "DRIVERS", ("/nonexistent",))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert visible_devices() == []
    assert devices.device_memory_bytes() is None


@pytest.mark.parametrize(
    ("variable", "expected"), [("", ["0", "1", "2"]), ("3,GPU-a", ["3", "GPU-a"])]
)
def test_devices_have_the_names_the_environment_gives_them(monkeypatch, variable, expected):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 3)
    monkeypatch.setattr(devices, "DRIVERS", ("/",))
    monkeypatch.setitem(__import__("sys").modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_devices() == expected
    assert local_workers("auto") == len(expected)
    assert local_workers("cpu") is None


def test_tiles_are_planned_for_the_smallest_device(caplog):
    made, _ = executor([6 * 10**9, 4 * 10**9])
    assert fit_to_devices(made, "auto").memory_bytes == int(0.9 * 4e9)
    assert not caplog.records


def test_a_worker_with_little_memory_of_its_own_keeps_that_limit():
    made, _ = executor([80 * 10**9])
    assert fit_to_devices(made, "cuda").memory_bytes == 8 * 10**9


def test_the_cpu_is_used_when_asked_for_whatever_there_is():
    made, plugins = executor([4 * 10**9])
    assert fit_to_devices(made, "cpu") is made
    assert not plugins


def test_workers_on_the_cpu_beside_others_are_told_of(caplog):
    made, _ = executor([4 * 10**9, None])
    assert fit_to_devices(made, "auto").memory_bytes == int(0.9 * 4e9)
    assert "1 of 2 workers have no GPU" in caplog.text
    with pytest.raises(ClusterError, match=r"1 of 2 workers have no GPU.*--device cpu"):
        fit_to_devices(made, "cuda")


@pytest.mark.parametrize("said", [{"resources": {"GPU": 1}}, {"offered": {"GPU": 1.0}}])
def test_gpus_that_torch_cannot_use_are_fallen_back_from_with_a_notice(caplog, said):
    made, _ = executor([None, None], **said)
    assert fit_to_devices(made, "auto") is made
    assert "torch finds none in any worker" in caplog.text
    made, _ = executor([None, None])
    caplog.clear()
    assert fit_to_devices(made, "auto") is made
    assert not caplog.records


def test_local_workers_get_one_device_each_and_share_when_there_are_more(monkeypatch):
    monkeypatch.setattr(devices, "visible_devices", lambda: ["4", "7"])
    made, plugins = executor([10 * 10**9] * 4, kind="local")
    assert fit_to_devices(made, "auto").memory_bytes == int(0.9 * 10e9) // 2
    (plugin,) = plugins
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    seen = []
    for name in range(4):
        plugin.setup(SimpleNamespace(name=name))
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["4", "7", "4", "7"]
    assert isinstance(plugin, OneDevice)
