"""What counts as use of a server: what somebody does, and nothing that a page asks for by itself."""

from __future__ import annotations

import pytest
from dstack_provider_jupyter.inside.idle import is_use


@pytest.mark.parametrize(
    ("request_line", "used"),
    [
        ("GET /lab", True),
        ("GET /lab/tree/sub/a.ipynb", True),
        ("GET /tree", True),
        ("GET /api/contents/a.ipynb?type=notebook&content=1", True),
        ("GET /api/contents/a.py?type=file&content=1", True),
        ("PUT /api/contents/a.py", True),
        ("POST /api/sessions", True),
        ("DELETE /api/terminals/1", True),
        ("GET /api/contents/sub?content=1&1234", False),
        ("GET /api/contents?content=1&1234", False),
        ("GET /api/kernels?1234", False),
        ("GET /api/sessions?1234", False),
        ("GET /api/terminals?1234", False),
        ("GET /api/status", False),
        ("PUT /lab/api/workspaces/default?1234", False),
        ("HEAD /api/contents/a.py?type=file", False),
    ],
)
@pytest.mark.parametrize("base", ["/", "/under/"])
def test_use(request_line, used, base):
    method, target = request_line.split()
    path, _, query = target.partition("?")
    assert is_use(method, base + path[1:], query, base) is used
