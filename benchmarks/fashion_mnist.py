"""Accuracy against file bytes on Fashion-MNIST: this project's sweeps and other systems.

    python -m benchmarks.fashion_mnist runs/fashion_mnist_trained/results.csv \
        runs/fashion_mnist_post_training/results.csv

TFMOT's EPR and FastEPR are in `results/fashion_mnist/tfmot.csv`, which `benchmarks/tfmot_epr.py`
writes: three seeds on the same images. The points in `results/fashion_mnist/peers.csv` are single
seeds, measured once with TensorFlow Model Optimization 0.8.0 and NNCodec 2.1.3 on networks of the
same shapes, lightly tuned, from dense models of 0.8913 and 0.9129.
"""

import pathlib

import matplotlib.pyplot as plt
import pandas as pd
from absl import app

FOLDER = pathlib.Path(__file__).parents[1] / "results" / "fashion_mnist"
TITLES = {"fashion_lenet_300_100": "LeNet-300-100", "fashion_lenet5": "LeNet-5 (Caffe)"}
VARIANTS = {
    "one seed": {"fillstyle": "none"},
    "3 times as long": {"marker": "*", "ms": 10},
    "unsettled": {"alpha": 0.4},
}


def curves(paths: list[str]) -> pd.DataFrame:
    """Returns mean accuracy and bytes over the finished seeds of each architecture and rate."""
    trials = pd.concat([pd.read_csv(path) for path in paths])
    done = trials[(trials.state == "done") & (trials.kind == "compression")]
    means = done.groupby(["arch", "algorithm", "rate"])
    points = means[["file_bytes", "artifact_metric", "dense_metric"]].mean().reset_index()
    return points.rename(columns={"algorithm": "system", "artifact_metric": "accuracy"})


def others() -> pd.DataFrame:
    """Returns accuracy and bytes of other systems, those of three seeds as means."""
    trials = pd.read_csv(FOLDER / "tfmot.csv")
    means = trials.groupby(["system", "arch", "weight", "learning_rate"])
    points = means[["file_bytes", "accuracy"]].mean().reset_index()
    single = pd.read_csv(FOLDER / "peers.csv")
    single["system"] += ", one seed"
    return pd.concat([points, single])


def draw(ours: pd.DataFrame, peers: pd.DataFrame) -> plt.Figure:
    """Draws a panel for each architecture; what follows commas in a system's name is its style."""
    figure, panels = plt.subplots(1, len(TITLES), figsize=(11, 6), layout="constrained")
    points = pd.concat([ours.assign(system="kwc " + ours.system), peers])
    names, styles = points.system.str.partition(", ")[0].unique(), {}
    for name, color in zip(names, plt.get_cmap("tab10").colors, strict=False):
        styles[name] = {"color": color, "marker": "o"}
        if not name.startswith("kwc "):
            styles[name] |= {"marker": "s", "ls": ":"}
    for system, rows in points.groupby("system"):
        name, *variants = system.split(", ")
        style = styles[name].copy()
        for variant in variants:
            style |= VARIANTS[variant]
        for panel, arch in zip(panels, TITLES, strict=True):
            curve = rows[rows.arch == arch].sort_values("file_bytes")
            panel.plot(curve.file_bytes, 100 * curve.accuracy, label=system, **style)
    for panel, (arch, title) in zip(panels, TITLES.items(), strict=True):
        here = ours[ours.arch == arch]
        if len(here):
            panel.axhline(100 * here.dense_metric.mean(), color="grey", lw=1, label="kwc dense")
            panel.set_ylim(100 * max(0.86, here.accuracy.min() - 0.01), None)
        panel.set(title=title, xscale="log", xlabel="file, bytes", ylabel="test accuracy, %")
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def main(arguments: list[str]) -> None:
    """Writes `frontier.png`."""
    if len(arguments) < 2:
        raise app.UsageError("Pass the results.csv of one or more sweeps.")
    figure = draw(curves(arguments[1:]), others())
    figure.savefig(FOLDER / "frontier.png", dpi=120)
    print(FOLDER / "frontier.png")


if __name__ == "__main__":
    app.run(main)
