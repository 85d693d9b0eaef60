"""A real Ray cluster of several node processes on this machine."""

import contextlib
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import time

import psutil

from launch import attempts

_START_SECONDS = 60
_JUST_NOW_SECONDS = 0.3
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


class Cluster:
    """A head and nodes, each one CPU, each killed with all its processes."""

    def __init__(self, environment):
        self.environment = dict(os.environ) | _SETTINGS | environment
        self._nodes = []
        with socket.socket() as probe:
            probe.bind(("", 0))
            self._port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"

    def start_head(self):
        head = self._start("--head", f"--port={self._port}", "--include-dashboard=false")
        self._await(1)
        return head

    def start_node(self):
        nodes = self.alive()
        node = self._start(f"--address={self.address}")
        self._await(nodes + 1)
        return node

    def alive(self):
        """Returns how many nodes Ray counts, asking as a process of its own."""
        code = (
            "import logging, ray; "
            f"ray.init('{self.address}', logging_level=logging.CRITICAL, log_to_driver=False); "
            "print('alive', sum(node['Alive'] for node in ray.nodes()))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        counts = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("alive")]
        return int(counts[0]) if counts else 0

    def await_work(self, node, sweep):
        """Waits until a trial of a sweep's folder has just begun on a node."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._has_begun(node, sweep):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no trial on a node within {_START_SECONDS} seconds")
            time.sleep(0.02)

    def _has_begun(self, node, sweep):
        processes = {process.pid for process in psutil.Process(node.pid).children(recursive=True)}
        last = [lines[-1] for path in sweep.glob("*/") if (lines := attempts.read(path))]
        return any(
            line["event"] == "start"
            and line["pid"] in processes
            and time.time() - line["time"] < _JUST_NOW_SECONDS
            for line in last
        )

    def stop(self):
        for node in list(self._nodes):
            self.kill(node)

    def kill(self, node):
        """Kills all processes of a node with -9, as a power cut would."""
        self._nodes.remove(node)
        with contextlib.suppress(psutil.NoSuchProcess):
            processes = [psutil.Process(node.pid)]
            processes += processes[0].children(recursive=True)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        node.wait()

    def _start(self, *options):
        ray = pathlib.Path(sys.executable).with_name("ray")
        node = subprocess.Popen(
            [ray, "start", *options, "--num-cpus=1", "--block", "--disable-usage-stats"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._nodes.append(node)
        return node

    def _await(self, count):
        deadline = time.monotonic() + _START_SECONDS
        while self.alive() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} nodes within {_START_SECONDS} seconds")
