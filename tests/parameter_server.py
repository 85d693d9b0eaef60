"""Starts a parameter server and a worker, then Model Garden's driver as their coordinator.

python tests/parameter_server.py FLAGS_OF_THE_DRIVER
"""

import contextlib
import json
import os
import runpy
import socket

import tensorflow as tf


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for opened_socket in sockets:
            opened_socket.bind(("localhost", 0))
        return [opened_socket.getsockname()[1] for opened_socket in sockets]


if __name__ == "__main__":
    jobs = ("worker", "ps")
    cluster = {job: [f"localhost:{port}"] for job, port in zip(jobs, free_ports(2), strict=True)}
    servers = [
        tf.distribute.Server(tf.train.ClusterSpec(cluster), job_name=job, protocol="grpc")
        for job in jobs
    ]
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": cluster | {"chief": ["localhost:0"]}, "task": {"type": "chief", "index": 0}}
    )
    runpy.run_module("official.vision.train", run_name="__main__", alter_sys=True)
