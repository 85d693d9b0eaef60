"""Every file name that the launcher reads or writes."""

# In the folder of a sweep, `runs/<sweep>/`.
SWEEP_CONFIG = "sweep.gin"
TRIAL_TABLE = "trials.json"
LOCK = ".lock"
RESULTS_CSV = "results.csv"
RESULTS_JSONL = "results.jsonl"
SUMMARY = "summary.md"
PARETO = "pareto.png"
TENSORBOARD = "tensorboard"

# In the folder of a trial, `runs/<sweep>/<id>/`.
TRIAL = "trial.json"
CONFIG = "config.gin"
RESULT = "result.json"
LOG = "log.txt"
ERROR = "error.txt"

# In the folder of a data set, `<data_dir>/<dataset>/`.
MANIFEST = "manifest.json"
