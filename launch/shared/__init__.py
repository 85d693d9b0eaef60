"""Run folders that are URLs: `kwc sweep run mine.gin --runs=gs://bucket/runs`.

Trials and commands work in local folders as ever. The URL is what they share, and what counts:

    URL/<sweep>/            the truth
    ~/.cache/kwc/mirrors/   what commands read and the launcher writes, without checkpoints
    ~/.cache/kwc/trials/    where the trials of this machine work

`mirror` copies folders, `lease` keeps a second launcher out, `work` wraps what is done in the
folder of a trial, and `executor` the executor that runs them.
"""

from launch.shared.executor import SharedExecutor
from launch.shared.lease import is_held
from launch.shared.mirror import Mirror, TransferError
from launch.shared.sweep import is_url, locate, pull, push_report

__all__ = [
    "Mirror",
    "SharedExecutor",
    "TransferError",
    "is_held",
    "is_url",
    "locate",
    "pull",
    "push_report",
]
