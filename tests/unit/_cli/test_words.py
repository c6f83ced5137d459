"""Words and columns as a terminal shows them."""

from __future__ import annotations

import pytest

from dstack_core._cli import words


@pytest.mark.parametrize(("text", "columns"), [("", 0), ("train", 5), ("日本", 4), ("e\u0301a", 2), ("ｶ", 1)])
def test_columns_of_a_terminal(text, columns):
    assert words.columns(text) == columns
    assert words.columns(words.padded(text, 8)) == 8
