"""A page on which one trains: gradient descent on a bowl, with a learning rate of one's choice."""

from __future__ import annotations

import streamlit as st


def descend(rate: float, steps: int) -> list[float]:
    """The loss x² after each step, from x = 1."""
    x, losses = 1.0, []
    for _ in range(steps):
        x -= rate * 2 * x
        losses.append(x * x)
    return losses


st.title("Gradient descent")
rate = st.slider("Learning rate", 0.01, 1.0, 0.05)
steps = st.number_input("Steps", 1, 1000, 30)
if st.button("Train"):
    losses = descend(rate, int(steps))
    st.line_chart(losses)
    st.write(f"Loss after {len(losses)} steps: {losses[-1]:.6f}")
