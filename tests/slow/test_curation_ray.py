"""The same recipe on processes of this machine and on a Ray cluster of two nodes: the same bytes."""

import shutil

import pytest
from tests.suites.curating import curate, output, tiny_curation, write_pages

from nautiloid.core.errors import InputError
from nautiloid.curate.executors.local import Local
from nautiloid.curate.executors.ray import Ray

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)  # one worker fits on each node
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_one_process_two_processes_and_two_nodes(cluster, tmp_path):
    pages = write_pages(tmp_path / "pages", extra=("CRASH", "RAISE", ""))
    runs = {
        name: curate(tmp_path / name, tiny_curation(pages, executor=executor))
        for name, executor in (
            ("one", Local(processes=1)),
            ("two", Local(processes=2)),
            ("ray", Ray(address=cluster.address)),
        )
    }
    assert runs["ray"].facts()["workers"] == 2
    expected = output(runs["one"].path)
    assert len([name for name in expected if name.endswith(".parquet")]) >= 4
    assert output(runs["two"].path) == expected
    assert output(runs["ray"].path) == expected


def test_a_run_begun_here_ends_there(cluster, tmp_path):
    pages = write_pages(tmp_path / "pages")
    recipe = tiny_curation(pages)
    expected = output(curate(tmp_path / "one", recipe).path)
    run = curate(tmp_path / "two", recipe)
    for folder in ("units/000003", "final", "shards"):
        shutil.rmtree(run.path / folder)
    (run.path / "done.json").unlink()
    again = curate(tmp_path / "two", tiny_curation(pages, executor=Ray(address=cluster.address)))
    assert output(again.path) == expected


def test_no_cluster_at_that_address(tmp_path):
    pages = write_pages(tmp_path / "pages", units=1)
    recipe = tiny_curation(pages, executor=Ray(address="127.0.0.1:1"))
    with pytest.raises(InputError, match=r"executor\.address: 127\.0\.0\.1:1: no cluster answers"):
        curate(tmp_path / "run", recipe)
