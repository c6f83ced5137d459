"""Write scikit-learn's handwritten digits to ./data: a training set, a test set, and a picture of some of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

mpl.use("Agg")  # draws into files: a job has no screen
import matplotlib.pyplot as plt

DATA = Path("data")
TEST_SHARE = 0.25
SEED = 7


def preview(images: np.ndarray, labels: np.ndarray, path: Path, columns: int = 16) -> None:
    """Draw one row of examples per digit."""
    figure, axes = plt.subplots(10, columns, figsize=(columns * 0.5, 5.6), layout="constrained")
    for digit, row in enumerate(axes):
        row[0].set_ylabel(digit, rotation=0, ha="right", va="center", fontsize=13)
        for axis, image in zip(row, images[labels == digit], strict=False):
            axis.imshow(image, cmap="gray_r", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    figure.suptitle(f"Some of the {len(images):,} digits to train on, 8 x 8 pixels each")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    figure.savefig(path, dpi=120)


def main() -> None:
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)  # 0 to 16 as the scanner gave them -> 0 to 1
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels, test_size=TEST_SHARE, random_state=SEED, stratify=labels
    )

    DATA.mkdir(exist_ok=True)
    np.savez(DATA / "train.npz", pixels=train_x, labels=train_y)
    np.savez(DATA / "test.npz", pixels=test_x, labels=test_y)
    preview(train_x.reshape(-1, 8, 8), train_y, DATA / "preview.png")
    print(f"{len(train_x)} digits to train on, {len(test_x)} to test on")


if __name__ == "__main__":
    main()
