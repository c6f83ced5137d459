"""Train a classifier on ./data and write it to ./model, with its metrics and two plots.

A small neural network, trained in epochs: after each, its loss on both sets and its accuracy on the test set are
shown. The seed fixes the result: the same data and arguments give the same model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import joblib
import matplotlib as mpl
import numpy as np
from matplotlib.colors import PowerNorm
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from sklearn.neural_network import MLPClassifier

mpl.use("Agg")  # draws into files: a job has no screen
import matplotlib.pyplot as plt

DATA, MODEL = Path("data"), Path("model")
DIGITS = np.arange(10)


class Epoch(NamedTuple):
    """How good the model was after one pass over the training set."""

    train_loss: float
    test_loss: float
    accuracy: float


class Digits(NamedTuple):
    """Pixels of shape (n, 64), each 0 to 1, and the digits that they show."""

    pixels: np.ndarray
    labels: np.ndarray


def read(name: str) -> Digits:
    path = DATA / f"{name}.npz"
    if not path.exists():
        raise SystemExit(f"{path} is not there: run prepare.py first, or all of it with: dstack run train-digits")
    with np.load(path) as arrays:
        return Digits(arrays["pixels"], arrays["labels"])


def train(model: MLPClassifier, train_set: Digits, test_set: Digits, epochs: int) -> list[Epoch]:
    """Train `model` in place and print a line per epoch."""
    history = []
    width = len(str(epochs))
    for number in range(1, epochs + 1):
        model.partial_fit(train_set.pixels, train_set.labels, classes=DIGITS)
        probabilities = model.predict_proba(test_set.pixels)
        epoch = Epoch(
            train_loss=log_loss(train_set.labels, model.predict_proba(train_set.pixels), labels=DIGITS),
            test_loss=log_loss(test_set.labels, probabilities, labels=DIGITS),
            accuracy=accuracy_score(test_set.labels, DIGITS[probabilities.argmax(axis=1)]),
        )
        history.append(epoch)
        print(
            f"epoch {number:>{width}}/{epochs}  loss {epoch.train_loss:.4f}  "
            f"test loss {epoch.test_loss:.4f}  test accuracy {epoch.accuracy:6.2%}",
            flush=True,  # seen now, not when the job ends
        )
    return history


def plot_loss(history: list[Epoch], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    numbers = range(1, len(history) + 1)
    axis.plot(numbers, [e.train_loss for e in history], "o-", label="training set", color="#2f6fb0", markersize=3.5)
    axis.plot(numbers, [e.test_loss for e in history], "o-", label="test set", color="#d9762b", markersize=3.5)
    axis.set(xlabel="epoch", ylabel="log loss", yscale="log")
    axis.set_title("Loss after each epoch", pad=12)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.grid(which="both", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=130)


def plot_confusion(counts: np.ndarray, accuracy: float, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6, 6.2), layout="constrained")
    axis.imshow(counts, cmap="Blues", norm=PowerNorm(0.4))  # so that one mistake can be told from none
    axis.set_xticks(DIGITS[1:] - 0.5, minor=True)
    axis.set_yticks(DIGITS[1:] - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if count > counts.max() / 4 else "black"
            axis.text(column, row, count, ha="center", va="center", color=color)
    axis.set_title(f"{accuracy:.1%} of {counts.sum()} test digits are read right", pad=12)
    axis.set(xlabel="read as", ylabel="shown", xticks=DIGITS, yticks=DIGITS)
    axis.spines[:].set_visible(False)
    axis.tick_params(which="both", length=0)
    figure.savefig(path, dpi=130)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training set (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=64, help="neurons of the hidden layer (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=0.002, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the random numbers (default: %(default)s)")
    given = parser.parse_args()
    if given.epochs < 1:
        parser.error("--epochs must be 1 or more")
    return given


def main() -> None:
    given = arguments()
    train_set, test_set = read("train"), read("test")
    model = MLPClassifier((given.hidden,), learning_rate_init=given.lr, batch_size=32, random_state=given.seed)
    history = train(model, train_set, test_set, given.epochs)

    MODEL.mkdir(exist_ok=True)
    last = history[-1]
    metrics = {name: round(value, 6) for name, value in {**last._asdict(), **vars(given)}.items()}
    (MODEL / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    joblib.dump(model, MODEL / "model.joblib")
    plot_loss(history, MODEL / "loss.png")
    counts = confusion_matrix(test_set.labels, model.predict(test_set.pixels), labels=DIGITS)
    plot_confusion(counts, last.accuracy, MODEL / "confusion.png")
    print(json.dumps(metrics))
    print(f"accuracy on the test set: {last.accuracy:.2%}")


if __name__ == "__main__":
    main()
