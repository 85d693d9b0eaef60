"""A process that may take so much time and so much memory, and no more."""

import asyncio
import contextlib
import os
import pathlib
import signal
import sys

import psutil

GB = 1e9
_SECONDS_BETWEEN_LOOKS = 0.2


async def run(
    module: str, arguments: list[str], log: pathlib.Path, seconds: float, memory_gb: float
) -> str:
    """Runs `python -m module arguments`, with one thread for each of TensorFlow's pools.

    Args:
        module: the module.
        arguments: its arguments.
        log: the file that takes its output.
        seconds: the longest time that it may take.
        memory_gb: the most resident memory that it and its children may take, in GB (1e9 bytes).

    Returns:
        Why it did not end well; empty if it did.
    """
    threads = {f"TF_NUM_{pool}_THREADS": "1" for pool in ("INTRAOP", "INTEROP")}
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"} | threads,
        )
    watched = psutil.Process(process.pid)
    try:
        async with asyncio.timeout(seconds):
            while process.returncode is None:
                used = _resident(watched) / GB
                if used > memory_gb:
                    return f"took {used:.2f} GB of memory; it may take {memory_gb:g} GB"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _SECONDS_BETWEEN_LOOKS)
    except TimeoutError:
        return f"took longer than {seconds:g} s"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return f"{_ending(process.returncode)}: {_last_line(log)}" if process.returncode else ""


def _resident(process: psutil.Process) -> int:
    """Bytes of memory of a process and its children; 0 once it has ended."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.NoSuchProcess:
        return 0


def _ending(status: int) -> str:
    return f"died of {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no output"
