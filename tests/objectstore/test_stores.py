"""An object store as Zarr's store: tried again, travelling without keys, failing in a sentence."""

import pickle
import threading

import numpy as np
import pytest
import zarr

from distres.engine.run import Run
from distres.errors import ClusterError, InputError, OutputExistsError, ResumeError, UsageError
from distres.io import stores
from distres.io.stores import address_of, as_store, claim, has_node
from distres.io.volume import open_volume

DATA = np.random.default_rng(5).normal(size=(40, 40, 40)).astype(np.float32)


def fill(address):
    array = zarr.create_array(as_store(address), name="map", data=DATA, chunks=(16, 16, 16))
    assert array.nchunks == 27
    return array


def read(address):
    return zarr.open_array(as_store(address), path="map", mode="r")[...]


def test_folders_and_other_addresses_are_left_to_zarr(tmp_path):
    assert as_store(str(tmp_path)) == str(tmp_path)
    assert as_store("https://example.org/a.zarr") == "https://example.org/a.zarr"


def test_what_is_written_is_read_back_bit_for_bit(bucket):
    fill(bucket)
    np.testing.assert_array_equal(read(bucket), DATA)
    assert has_node(bucket)
    assert not has_node(f"{bucket}/nothing")


def test_a_store_travels_as_its_address_without_keys(bucket):
    store = as_store(f"{bucket}/run.zarr")
    data = pickle.dumps(store)
    assert b"tests" not in data.replace(b"tests/", b"")
    assert pickle.loads(data) is store
    assert address_of(store) == f"{bucket}/run.zarr"


def test_a_third_of_all_requests_failing_changes_no_bit(bucket, proxy):
    proxy.error_share = 0.33
    fill(bucket)
    np.testing.assert_array_equal(read(bucket), DATA)
    assert proxy.failed > 10


def test_slow_answers_are_waited_for(bucket, proxy):
    fill(bucket)
    proxy.bytes_per_second = 50_000
    np.testing.assert_array_equal(read(bucket), DATA)


def test_an_outage_is_waited_out(bucket, proxy):
    fill(bucket)
    proxy.down = True
    # Back once the client has tried in vain, whatever the speed of this machine.
    back = threading.Timer(0, lambda: wait_and_return(proxy, refused=6))
    back.start()
    np.testing.assert_array_equal(read(bucket), DATA)
    back.join()


def wait_and_return(proxy, refused):
    tick = threading.Event()
    while proxy.refused < refused:
        tick.wait(0.05)
    proxy.down = False


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(stores, "RETRIES", 2)
    stores._opened.cache_clear()


def test_a_store_that_stays_away_is_named_with_what_to_do(bucket, proxy, impatient):
    fill(bucket)
    proxy.down = True
    with pytest.raises(ClusterError, match=rf"{bucket} does not answer .*--resume") as caught:
        read(bucket)
    assert "\n" not in str(caught.value)


def test_keys_that_the_store_refuses_are_named(bucket, proxy, impatient, monkeypatch):
    proxy.status = 403
    with pytest.raises(ClusterError, match=r"refuses this process.*AWS_ACCESS_KEY_ID"):
        read(bucket)


def test_missing_keys_are_named():
    from obstore.exceptions import GenericError

    said = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token"
    with (
        pytest.raises(ClusterError, match=r"no keys for s3://a/b; set AWS_ACCESS_KEY_ID"),
        stores._plainly("s3://a/b"),
    ):
        raise GenericError(said)


def test_a_bucket_that_does_not_exist_is_an_input_that_does_not_exist(proxy):
    with pytest.raises(InputError, match=r"s3://nowhere/a\.zarr cannot be opened"):
        open_volume("s3://nowhere/a.zarr")


def test_a_missing_extra_and_a_missing_bucket_are_said(monkeypatch):
    stores._opened.cache_clear()
    with pytest.raises(UsageError, match="names no bucket"):
        as_store("s3://")
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(ClusterError, match=r"pip install 'distres\[s3\]'"):
        as_store("s3://bucket/place")


def test_of_two_that_claim_a_place_at_once_one_wins(bucket):
    answers = []

    def ask(token):
        answers.append((token, claim(bucket, token)))

    threads = [threading.Thread(target=ask, args=(f"{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({owner for _, owner in answers}) == 1
    assert sum(token == owner for token, owner in answers) == 1


def test_a_second_run_on_the_same_arrays_is_refused(bucket, tmp_path):
    with Run.open(tmp_path / "one", store=bucket) as run:
        zarr.create_array(run.store, name="a", data=DATA)
    with pytest.raises(OutputExistsError, match="arrays of another run"):
        Run.open(tmp_path / "two", store=bucket)
    with Run.open(tmp_path / "one", resume=True) as run:
        assert address_of(run.store) == f"{bucket}/run.zarr"
        assert "a" in zarr.open_group(run.store)


def test_overwriting_removes_the_arrays_of_this_run_alone(bucket, tmp_path):
    fill(f"{bucket}/other.zarr")
    with Run.open(tmp_path / "run", store=bucket) as run:
        zarr.create_array(run.store, name="a", data=DATA)
        (tmp_path / "run" / "ledger").mkdir()
    with Run.open(tmp_path / "run", overwrite=True, store=bucket) as run:
        assert "a" not in zarr.open_group(run.store)
    np.testing.assert_array_equal(read(f"{bucket}/other.zarr"), DATA)


def test_a_run_goes_on_where_its_arrays_are(bucket, tmp_path):
    Run.open(tmp_path / "here").close()
    (tmp_path / "here" / "ledger").mkdir()
    with pytest.raises(ResumeError, match="with its arrays inside it"):
        Run.open(tmp_path / "here", resume=True, store=bucket)
    Run.open(tmp_path / "there", store=bucket).close()
    with pytest.raises(ResumeError, match=r"lie in .*, not in"):
        Run.open(tmp_path / "there", resume=True, store=f"{bucket}/else")


@pytest.mark.parametrize("place", ["s3://bucket/run", "s3:/bucket/run"])
def test_a_run_directory_in_an_object_store_is_refused_with_the_reason(place):
    with pytest.raises(
        UsageError, match=r"ledger and the lock of a run need a file system.*--store"
    ):
        Run.open(place)


def test_a_store_that_is_no_object_store_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no address of an object store"):
        Run.open(tmp_path / "run", store="/data/elsewhere")
