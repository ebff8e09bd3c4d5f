"""Profiles say where tiles are computed; what they get wrong is named."""

import pytest

from distres.engine.cluster import open_executor
from distres.engine.profiles import read_profile
from distres.errors import InputError, UsageError


def opened(spec, **given):
    with open_executor(str(spec), **given) as executor:
        return executor


def test_this_process_is_an_executor_with_known_memory():
    executor = opened("none")
    assert executor.client is None
    assert executor.workers == 1
    assert executor.memory_bytes > 10**8
    assert opened("none", memory_bytes=5).memory_bytes == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'kind = "none"\nmemory = "3GB"\nworkers = 1\n'),
        ("a.json", '{"kind": "none", "memory": "3GB", "workers": 1}'),
        ("a.yaml", "kind: none\nmemory: 3GB\nworkers: 1\n"),
    ],
)
def test_a_profile_may_be_toml_json_or_yaml(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert opened(path).memory_bytes == 3 * 10**9
    assert opened(path, memory_bytes=10**9).memory_bytes == 10**9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'kind = "moon"',
            "kind 'moon' is unknown; use one of address, kubernetes, local, none, slurm",
        ),
        ("workers = 2", 'needs a line like kind = "local"'),
        ('kind = "none"\nqueue = "gpu"', "does not know 'queue'"),
        ('kind = "none"\nworkers = 0', "1 or more, not 0"),
        ('kind = "none"\nmemory = "plenty"', "is no amount"),
        ('kind = "local"\npatience_seconds = -1', "above 0, not -1"),
        ('kind = "address"', 'needs address = "tcp://host:8786"'),
        ('kind = "address"\naddress = "tcp://host"', "is no scheduler address"),
    ],
)
def test_a_mistake_in_a_profile_is_named(tmp_path, text, words):
    path = tmp_path / "profile.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        opened(path)
    assert words in str(caught.value)


def test_a_profile_that_cannot_be_parsed_is_refused(tmp_path):
    path = tmp_path / "profile.toml"
    path.write_text("kind = ")
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(str(path))


def test_a_place_that_is_nothing_is_refused():
    with pytest.raises(UsageError, match="neither none, local, an address"):
        opened("lokal")
