"""Options are checked before anything is opened."""

import pytest

from distres.errors import UsageError
from distres.methods.options import RunOptions, parse_memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2_000_000_000),
        ("2 gb", 2_000_000_000),
        ("1.5GiB", 3 * 2**29),
        ("800M", 800_000_000),
        ("512KiB", 512 * 2**10),
        ("123456", 123456),
        ("1T", 10**12),
    ],
)
def test_memory_is_read_as_people_write_it(text, expected):
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "2 apples", "-1GB", "0", "1.2.3GB", "2GBB"])
def test_what_is_no_memory_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="write for instance 2GB"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resume": True, "overwrite": True}, "give one"),
        ({"pixel_size_angstrom": 0.0}, "positive"),
        ({"pixel_size_angstrom": float("nan")}, "positive"),
        ({"tile_vox": 8}, "16 or more"),
        ({"workers": 0}, "1 or more"),
        ({"device": "tpu"}, "auto, cpu or cuda"),
    ],
)
def test_impossible_options_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        RunOptions(**given)
