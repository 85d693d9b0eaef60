"""Accuracy against file bytes on Fashion-MNIST: this project's sweeps and other systems.

    python -m benchmarks.fashion_mnist runs/fashion_mnist_trained/results.csv \
        runs/fashion_mnist_post_training/results.csv

The points of the others are in `results/fashion_mnist/peers.csv`: single seeds, measured once with
TensorFlow Model Optimization 0.8.0 and NNCodec 2.1.3 on networks of the same shapes, lightly tuned,
from dense models of 0.8913 and 0.9129.
"""

import pathlib

import matplotlib.pyplot as plt
import pandas as pd
from absl import app

FOLDER = pathlib.Path(__file__).parents[1] / "results" / "fashion_mnist"
TITLES = {"fashion_lenet_300_100": "LeNet-300-100", "fashion_lenet5": "LeNet-5 (Caffe)"}


def curves(paths: list[str]) -> pd.DataFrame:
    """Returns mean accuracy and bytes over the finished seeds of each architecture and rate."""
    trials = pd.concat([pd.read_csv(path) for path in paths])
    done = trials[(trials.state == "done") & (trials.kind == "compression")]
    means = done.groupby(["arch", "algorithm", "rate"])
    points = means[["file_bytes", "artifact_metric", "dense_metric"]].mean().reset_index()
    return points.rename(columns={"algorithm": "system", "artifact_metric": "accuracy"})


def draw(points: pd.DataFrame, peers: pd.DataFrame) -> plt.Figure:
    """Draws a panel for each architecture; points of others are hollow."""
    figure, panels = plt.subplots(1, len(TITLES), figsize=(11, 4.2), layout="constrained")
    for panel, (arch, title) in zip(panels, TITLES.items(), strict=True):
        ours = points[points.arch == arch]
        for system, curve in ours.groupby("system"):
            ordered = curve.sort_values("file_bytes")
            panel.plot(ordered.file_bytes, 100 * ordered.accuracy, "o-", label=f"kwc {system}")
        for system, curve in peers[peers.arch == arch].groupby("system"):
            ordered = curve.sort_values("file_bytes")
            panel.plot(
                ordered.file_bytes, 100 * ordered.accuracy, "s:", label=system, fillstyle="none"
            )
        if len(ours):
            panel.axhline(100 * ours.dense_metric.mean(), color="grey", lw=1, label="kwc dense")
        panel.set(title=title, xscale="log", xlabel="file, bytes", ylabel="test accuracy, %")
        panel.set_ylim(100 * max(0.86, ours.accuracy.min() - 0.01) if len(ours) else 86, None)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    return figure


def main(arguments: list[str]) -> None:
    """Writes `frontier.png`."""
    if len(arguments) < 2:
        raise app.UsageError("Pass the results.csv of one or more sweeps.")
    figure = draw(curves(arguments[1:]), pd.read_csv(FOLDER / "peers.csv"))
    figure.savefig(FOLDER / "frontier.png", dpi=120)
    print(FOLDER / "frontier.png")


if __name__ == "__main__":
    app.run(main)
