"""Who is let in to machines: the address that this computer has on the internet, or whom the settings name."""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request
from typing import Final

from dstack_core.errors import ReachError

ASK: Final = "https://checkip.amazonaws.com"
"""Tells whoever asks their address, and nothing else."""
PATIENCE: Final = 10.0
"""Seconds for its answer."""
WIDEST: Final = 16
"""Bits that a network has in common at least, if it is to be let in: never everybody."""
HINT: Final = "dstack config set settings.ec2.ssh_from ADDRESS"


def caller(told: str) -> str:
    """As a network: `198.51.100.7/32`. `told`: an address, a network, or a URL that answers with the caller's address.

    Raises:
        ReachError: nobody says, or what is said is no such address.
    """
    if not told.startswith(("https://", "http://")):
        return network_of(told)
    try:
        with urllib.request.urlopen(told, timeout=PATIENCE) as answer:  # noqa: S310  it is one of these two
            said = answer.read(100).decode("ascii", "replace").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ReachError(f"{told} does not say which address you have: {reason}", hint=HINT) from None
    try:
        return f"{ipaddress.IPv4Address(said)}/32"
    except ValueError:
        raise ReachError(f"{told} says that your address is {said[:40]!r}", hint=HINT) from None


def network_of(text: str) -> str:
    """The network that somebody wrote; one address is a small one. Raises ValueError: it is none, or it is too wide."""
    network = ipaddress.IPv4Network(text, strict=False)
    if network.prefixlen < WIDEST:
        raise ValueError(f"must not let in as many as {network}: name your address, or a network of /{WIDEST} at most")
    return str(network)
