"""The watchdog heals what can be healed, and ends what cannot with a reason."""

from types import SimpleNamespace

import pytest

from distres.engine.cluster import Executor
from distres.engine.pools import DaskPool
from distres.engine.watchdog import HEALS, Watchdog
from distres.errors import ClusterError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Cluster:
    """Client and cluster in one: `workers` is what its scheduler reports."""

    def __init__(self, workers):
        self.workers = workers
        self.status = "running"
        self.scaled = []
        self.restarted = []

    def scheduler_info(self, n_workers):
        return {"workers": self.workers}

    def scale(self, count):
        self.scaled.append(count)

    def restart_workers(self, names):
        self.restarted.append(names)


@pytest.fixture
def pool():
    pool = object.__new__(DaskPool)
    pool._futures = {}
    return pool


def watch(cluster, **settings):
    clock = Clock()
    executor = Executor(client=cluster, cluster=cluster, workers=2, patience_seconds=60, **settings)
    return Watchdog(executor, "job", clock), clock


def pass_time(watchdog, clock, pool, seconds):
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 2.5
        watchdog.look(pool)


def test_a_healthy_cluster_is_left_alone(pool):
    cluster = Cluster({"a": {"status": "running"}, "b": {"status": "running"}})
    watchdog, clock = watch(cluster)
    pass_time(watchdog, clock, pool, 600)
    assert cluster.scaled == []


def test_a_worker_that_does_not_come_back_is_asked_for_again(pool):
    cluster = Cluster({"a": {}})
    watchdog, clock = watch(cluster)
    pass_time(watchdog, clock, pool, 15)
    assert cluster.scaled == []
    pass_time(watchdog, clock, pool, 15)
    assert cluster.scaled == [2]
    cluster.workers = {"a": {}, "b": {}}
    pass_time(watchdog, clock, pool, 100)
    assert cluster.scaled == [2]


def test_healing_without_progress_ends(pool):
    watchdog, clock = watch(Cluster({"a": {}}))
    with pytest.raises(ClusterError, match=f"{HEALS} attempts"):
        pass_time(watchdog, clock, pool, 600)


def test_a_cluster_without_workers_ends_after_the_patience(pool):
    watchdog, clock = watch(Cluster({}))
    with pytest.raises(ClusterError, match="all workers are gone"):
        pass_time(watchdog, clock, pool, 120)
    assert clock.now < 70


def test_a_scheduler_that_goes_away_ends_the_run(pool):
    cluster = Cluster({"a": {}, "b": {}})
    watchdog, clock = watch(cluster)
    cluster.status = "connecting"
    with pytest.raises(ClusterError, match="the scheduler is gone"):
        pass_time(watchdog, clock, pool, 120)


def test_paused_workers_are_started_again(pool):
    cluster = Cluster({"a": {"status": "paused"}, "b": {"status": "paused"}})
    watchdog, clock = watch(cluster)
    pass_time(watchdog, clock, pool, 40)
    assert cluster.restarted == [["a", "b"]]


def test_a_resource_that_no_worker_offers_is_named(pool):
    cluster = Cluster({"a": {"resources": {}}, "b": {"resources": {"CPU": 1}}})
    watchdog, clock = watch(cluster, resources={"GPU": 1})
    with pytest.raises(ClusterError, match="needs 1 GPU, but none of the 2 workers"):
        pass_time(watchdog, clock, pool, 120)


def test_workers_that_never_finish_anything_end_the_run(pool):
    cluster = Cluster({"a": {}, "b": {}})
    watchdog, clock = watch(cluster, stall_seconds=300)
    pass_time(watchdog, clock, pool, 290)
    watchdog.progressed()
    pass_time(watchdog, clock, pool, 290)
    with pytest.raises(ClusterError, match="no tile has finished"):
        pass_time(watchdog, clock, pool, 290)


def test_futures_that_a_lost_connection_orphaned_are_taken_back(pool):
    cluster = Cluster({"a": {}, "b": {}})
    watchdog, clock = watch(cluster)
    pool._futures = {
        1: (SimpleNamespace(status="lost"), (4, 5)),
        2: (SimpleNamespace(status="pending"), (6,)),
    }
    clock.now = 10
    (lost,) = watchdog.look(pool)
    assert lost.pack == (4, 5)
    assert not lost.blamed
    assert pool.pending == 1


def test_a_client_that_closes_while_packs_are_handed_over_ends_the_run(pool):
    from distributed.client import ClosedClientError

    def submit(*arguments, **settings):
        raise ClosedClientError("Client is closed. Can't send update-graph message.")

    pool._client = SimpleNamespace(submit=submit)
    pool._name, pool._token, pool._count = "job", "t", 0
    pool._data, pool._resources = b"", None
    with pytest.raises(ClusterError, match=r"job: the scheduler is gone.*--resume"):
        pool.submit((1,))
