"""File systems that fill up."""

import contextlib
import os
import subprocess

import pytest


def mount(folder, size):
    """Mounts a file system of so many bytes ("64k") at a new folder; tells whether it may."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return not os.geteuid() and not subprocess.run(command, capture_output=True).returncode


@contextlib.contextmanager
def mounted(folder, size):
    """Mounts a file system as `mount` does, for the block; skips the test where it may not."""
    if not mount(folder, size):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
