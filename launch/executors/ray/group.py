"""Joins the processes of one job by `tf.distribute`."""

import contextlib
import json
import os
import pathlib
import socket
import threading
from collections.abc import Iterator

from launch.executors import Resources, Work
from launch.executors.ray import environment

_EXIT_STATUS = 71


@contextlib.contextmanager
def joined(work: Work, folder: pathlib.Path, resources: Resources) -> Iterator[None]:
    """Starts the other processes of a job, and tells TensorFlow of all in `TF_CONFIG`.

    The process that enters is the first. When another dies, this one ends too, since it would wait
    for ever, and the whole job starts again.

    Args:
        work: What each process does.
        folder: The job's folder.
        resources: What each process may use; with one worker, nothing is done.
    """
    if resources.workers == 1:
        yield
        return
    import ray

    remote = ray.remote(max_restarts=0)(_Member).options(
        num_cpus=resources.cpus, num_gpus=resources.gpus
    )
    members = [remote.remote() for _ in range(1, resources.workers)]
    addresses = [_address(), *ray.get([member.address.remote() for member in members])]
    directory = pathlib.Path.cwd()
    finished = [
        member.work.remote(work, folder, resources, directory, addresses, index)
        for index, member in enumerate(members, start=1)
    ]
    _join(addresses, 0)
    threading.Thread(target=_end_with, args=(finished,), name="group", daemon=True).start()
    yield
    ray.wait(finished, num_returns=len(finished))


def _end_with(finished: list) -> None:
    """Ends this process when a member ends before its work is done."""
    import ray

    try:
        ray.get(finished)
    except ray.exceptions.RayError:
        os._exit(_EXIT_STATUS)


class _Member:
    """Another process of a job."""

    def address(self) -> str:
        return _address()

    def work(
        self,
        work: Work,
        folder: pathlib.Path,
        resources: Resources,
        directory: pathlib.Path,
        addresses: list[str],
        index: int,
    ) -> None:
        environment.prepare(resources, directory)
        _join(addresses, index)
        work(folder, index)


def _address() -> str:
    """Returns an address of this machine that others reach, with a port that is free now."""
    import ray

    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{host}:{probe.getsockname()[1]}"


def _join(addresses: list[str], index: int) -> None:
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
