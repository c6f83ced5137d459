"""Every provider is found by its name, and is cheap: whoever asks for a list of workflows loads them all."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

PROVIDERS = {
    entry.name.removeprefix("provider-"): entry.value
    for entry in entry_points(group="dstack.plugins")
    if entry.value.startswith("dstack_provider_")
}


def test_all_of_them_are_known():
    assert set(PROVIDERS) == {"bash", "code", "docker", "lab", "notebook"}


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_the_plugin_is_found_and_imports_little(name):
    code = (
        f"import sys; from {PROVIDERS[name]} import dstack_providers; (entry,) = dstack_providers()\n"
        f"assert entry.name == '{name}' and '{PROVIDERS[name].partition('.')[0]}.provider' not in sys.modules\n"
        "provider = entry.load()(); assert not {'pydantic', 'yaml', 'click', 'docker'} & set(sys.modules)\n"
        "provider.properties()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
