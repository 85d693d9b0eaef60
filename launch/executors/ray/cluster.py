"""The connection to Ray: started here, or a cluster's; how much room it has, and whether it lives.

Ray is imported inside functions: it takes most of a second, which only a run has to spend.
"""

import contextlib
import logging
import math
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from launch.executors import ExecutorError, Resources
from launch.executors.memory import GB

# What a job is thought to take where the sweep does not say; Model Garden alone is 0.9 GB.
_USUAL_MEMORY_GB = 2.0
_OBJECT_STORE_BYTES = 100_000_000  # Results are files: nothing large travels through Ray.
_SECONDS_BETWEEN_CHECKS = 2.0
# Ray ends this process, without a word from it, 60 seconds after the head is gone.
_SECONDS_WITHOUT_HEAD = 20.0
_QUEUE = 4


@contextlib.contextmanager
def connected(address: str | None, resources: Resources) -> Iterator["Connection"]:
    """Starts Ray on this machine or joins a cluster; leaves it, or stops it, at the end.

    Args:
        address: `host:port` of the head, or `auto`; None starts Ray here.
        resources: What one job uses.

    Raises:
        ExecutorError: If no cluster answers, or this machine is too small for one job.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if _has_token():
        # `ray start` asks for the token by default, yet `ray.init` does not show it by default.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is None:
            store = _OBJECT_STORE_BYTES
            ray.init("local", include_dashboard=False, object_store_memory=store, **quiet)
        else:
            _knock(address)
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExecutorError(
            f"no Ray cluster to use at {address or 'this machine'} ({reason}): start one with "
            "`ray start --head`, or leave --address out to run here"
        ) from error
    with contextlib.redirect_stdout(_WithoutDeaths(sys.stdout)):
        try:
            yield Connection(resources, is_local=address is None)
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=_SECONDS_WITHOUT_HEAD).close()


def _has_token() -> bool:
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return given or (pathlib.Path.home() / ".ray" / "auth_token").is_file()


class _WithoutDeaths:
    """A stream that leaves out Ray's paragraph on each process that died: an event tells it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_line_left_out = False

    def write(self, text: str) -> int:
        is_newline_of_it = self._is_line_left_out and text == "\n"
        self._is_line_left_out = "A worker died or was killed while executing a task" in text
        if not self._is_line_left_out and not is_newline_of_it:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


class Connection:
    """Tells how many jobs the cluster has room for, and that it is still there."""

    def __init__(self, resources: Resources, is_local: bool) -> None:
        import ray

        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._head = (host, int(port))
        self._resources = resources
        self._seen = self._checked = time.monotonic()
        self._slots = self._count_slots()
        if is_local and not self.room():
            raise ExecutorError(
                f"a trial needs {_words(resources)}, this machine has {_machine()}: "
                "lower Sweep.resources"
            )

    def slots(self) -> int:
        """Returns how many jobs to hand to Ray: those that fit, and a few that wait there."""
        return self._slots

    def check(self) -> None:
        """Looks, every few seconds, for the head and for nodes that joined or left.

        Raises:
            ExecutorError: If the head has not answered for a while.
        """
        now = time.monotonic()
        if now - self._checked < _SECONDS_BETWEEN_CHECKS:
            return
        self._checked = now
        try:
            socket.create_connection(self._head, timeout=_SECONDS_BETWEEN_CHECKS).close()
        except OSError as error:
            if now - self._seen > _SECONDS_WITHOUT_HEAD:
                where = ":".join(map(str, self._head))
                raise ExecutorError(
                    f"the head of the Ray cluster at {where} is gone ({error}); finished trials "
                    "are kept: start the cluster again and run the same command"
                ) from error
            return
        self._seen = now
        self._slots = self._count_slots()

    def _count_slots(self) -> int:
        room = self.room()
        return room + max(room, _QUEUE)

    def room(self) -> int:
        """Returns how many jobs the nodes can run at once."""
        import ray

        each = demand(self._resources)
        wanted = {"CPU": each["num_cpus"], "GPU": each["num_gpus"], "memory": each["memory"]}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        processes = sum(
            min(math.floor(node.get(name, 0) / amount) for name, amount in wanted.items() if amount)
            for node in nodes
        )
        return processes // self._resources.workers


def demand(resources: Resources) -> dict[str, float]:
    """Returns what Ray sets aside for one process of a job; memory in bytes."""
    memory_gb = resources.memory_gb or _USUAL_MEMORY_GB
    return {
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "memory": int(memory_gb * GB),
    }


def reserve(resources: Resources) -> Any:
    """Asks for room for all processes of a job at once; None where there is but one."""
    if resources.workers == 1:
        return None
    from ray.util.placement_group import placement_group

    each = demand(resources)
    bundle = {"CPU": each["num_cpus"], "memory": each["memory"]}
    if resources.gpus:
        bundle["GPU"] = each["num_gpus"]
    return placement_group([bundle] * resources.workers)


def release(group: Any) -> None:
    """Gives back what `reserve` returned; processes that still run there are killed."""
    if group is not None:
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(group)


def options(resources: Resources, group: Any) -> dict[str, Any]:
    """Returns the options of the Ray task that does a job."""
    chosen: dict[str, Any] = demand(resources)
    if group is not None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        chosen["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
    return chosen


def cause_of_death(error: Exception) -> str:
    """Returns, in a few words, what ended a process."""
    import ray

    match error:
        case ray.exceptions.OutOfMemoryError():
            return "the machine ran out of memory and Ray ended its process"
        case ray.exceptions.NodeDiedError():
            return "the machine that ran it went away"
        case _:
            return "its process died (killed, or crashed in native code)"


def _words(resources: Resources) -> str:
    each = demand(resources)
    words = f"{each['num_cpus']:g} CPUs, {each['num_gpus']:g} GPUs and {each['memory'] / GB:g} GB"
    return f"{resources.workers} x ({words})" if resources.workers > 1 else words


def _machine() -> str:
    import ray

    total = ray.cluster_resources()
    memory_gb = total.get("memory", 0) / GB
    return f"{total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs and {memory_gb:.1f} GB"
