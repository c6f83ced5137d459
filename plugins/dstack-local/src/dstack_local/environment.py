"""The environment variables of a job: few, named here and in the README, never simply the caller's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

KEPT = frozenset(
    {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DSTACK_MACHINE"}
    | {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}
    | {
        n
        for proxy in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
        for n in (proxy, proxy.upper())
    }
)
"""Variables that a job gets from its caller."""

KEPT_PREFIXES = ("LC_", "PIP_", "UV_", "CUDA_", "NVIDIA_")
"""Variables that begin so are the caller's, too: language, package indexes, GPUs."""

DROPPED = frozenset(
    {"PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV"}
    | {"UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_PROJECT_ENVIRONMENT", "UV_ENV_FILE"}
)
"""But not these: they would make `pip install` write somewhere else than into the job's own environment."""


def job_environment(caller: Mapping[str, str], python: str, tmp: str) -> dict[str, str]:
    """What every job has: from `caller`'s environment what is safe, and its own Python environment and TMPDIR."""
    env = {k: v for k, v in caller.items() if (k in KEPT or k.startswith(KEPT_PREFIXES)) and k not in DROPPED}
    env.setdefault("HOME", os.path.expanduser("~"))
    if "USER" not in env or "LOGNAME" not in env:
        user = env.get("USER") or env.get("LOGNAME") or _user()
        env.setdefault("USER", user)
        env.setdefault("LOGNAME", user)
    env.setdefault("SHELL", _shell())
    if not any(name in env for name in ("LANG", "LC_ALL", "LC_CTYPE")):
        env["LANG"] = "C.UTF-8"
    env["PATH"] = os.pathsep.join([f"{python}/bin", *_path(caller)])
    env["VIRTUAL_ENV"] = python
    env["TMPDIR"] = tmp
    env["TERM"] = "dumb"
    env["PYTHONUNBUFFERED"] = "1"
    # Whatever a pip.conf of the user says, and without a line of advice in every log.
    env["PIP_USER"] = "0"
    env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return env


def _path(caller: Mapping[str, str]) -> list[str]:
    """The caller's PATH without virtual environments: a job's `pytest` is what the job installed, or missing."""
    hidden = {f"{caller['VIRTUAL_ENV']}/bin"} if caller.get("VIRTUAL_ENV") else set()
    if sys.prefix != sys.base_prefix:
        hidden.add(f"{sys.prefix}/bin")
    folders = (caller.get("PATH") or os.defpath).split(os.pathsep)
    return [folder for folder in folders if folder and folder.rstrip("/") not in hidden]


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _shell() -> str:
    """The user's own: what is opened for people in a terminal."""
    import pwd

    try:
        shell = pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        shell = ""
    return shell or "/bin/sh"
