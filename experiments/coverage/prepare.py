"""The process that writes the small data sets and the plan.

python -m experiments.coverage.prepare WORK_DIR
"""

import json
import pathlib
import shutil
import sys

from experiments.coverage import plan, records, schedule
from kwc import files


def main(work: pathlib.Path) -> None:
    """Writes `data/`, anew, and `plan.json`."""
    shutil.rmtree(work / schedule.DATA, ignore_errors=True)
    records.write(work / schedule.DATA)
    files.write_atomically(work / schedule.PLAN, json.dumps(plan.make(), indent=1))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
