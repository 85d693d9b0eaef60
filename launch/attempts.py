"""`attempts.jsonl`: a line for each time that a process starts or ends work on a trial.

A start without an end is a process that died, or one that is still running.
"""

import json
import os
import pathlib
import socket
import time
from typing import Any

from launch import layout


def start(folder: pathlib.Path) -> None:
    """Notes that this process starts on the trial of a folder."""
    number = 1 + sum(line["event"] == "start" for line in read(folder))
    _append(folder, event="start", attempt=number, host=socket.gethostname(), pid=os.getpid())


def end(folder: pathlib.Path, event: str, **details: Any) -> None:
    """Notes how an attempt ended: `done` or `failed`, with its `seconds` and its `error`."""
    _append(folder, event=event, **details)


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines so far, oldest first; `time` is in seconds since 1970.

    A line that a full disk or a sudden end left incomplete is left out.
    """
    try:
        lines = (folder / layout.ATTEMPTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    complete = []
    for line in lines:
        try:
            complete.append(json.loads(line))
        except ValueError:
            continue
    return complete


def _append(folder: pathlib.Path, **line: Any) -> None:
    record = {"time": round(time.time(), 3)} | line
    with open(folder / layout.ATTEMPTS, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
