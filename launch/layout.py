"""Every file name that the launcher reads or writes."""

LOCK = ".lock"  # In the folder of a sweep and of a trial.

# In the folder of a sweep, `runs/<sweep>/`.
SWEEP_CONFIG = "sweep.gin"
TRIAL_TABLE = "trials.json"
INDEX = ".index.json"
RESULTS_CSV = "results.csv"
RESULTS_JSONL = "results.jsonl"
RESULTS_PARQUET = "results.parquet"
SUMMARY = "summary.md"
STOPPED = "stopped.md"
PARETO = "pareto.png"
REPORT = "report.html"
TENSORBOARD = "tensorboard"

# In the folder of a trial, `runs/<sweep>/<id>/`.
TRIAL = "trial.json"
CONFIG = "config.gin"
RESULT = "result.json"
LOG = "log.txt"
ERROR = "error.txt"
TRAIN_EVENTS = "train"
VALIDATION_EVENTS = "validation"
ATTEMPTS = "attempts.jsonl"

# In the folder of a data set, `<data_dir>/<dataset>/`.
MANIFEST = "manifest.json"
