"""A training that writes its loss for TensorBoard."""

from __future__ import annotations

import argparse
import time

from tensorboard.summary import Writer

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--pause", type=float, default=0.5, help="seconds that a step takes")
options = parser.parse_args()

writer = Writer("logs")
x = 1.0
for step in range(options.steps):
    x -= 0.01 * 2 * x
    writer.add_scalar("loss", x * x, step)
    writer.flush()
    time.sleep(options.pause)
writer.close()
print(f"loss {x * x:.6f}")
