#!/usr/bin/python3
"""`shutdown`, `poweroff`, `halt`, `reboot` of a machine, by the name it is called by: tells vm-init what is wanted."""

import json
import re
import sys
import time
from pathlib import Path

PIPE = Path("/run/vm-init")


def wanted(name: str, words: list[str]) -> dict[str, object]:
    """What a command line asks for."""
    flags = {word for word in words if word.startswith("-")}
    short = "".join(flag[1:] for flag in flags if not flag.startswith("--"))
    restart = name == "reboot" or "--reboot" in flags or (name == "shutdown" and "r" in short)
    asked: dict[str, object] = {"do": "reboot" if restart else "off", "delay": 0.0, "force": False}
    if name != "shutdown":
        asked["force"] = "--force" in flags or "f" in short
        return asked
    if "c" in short:
        return {"do": "cancel"}
    asked["delay"] = delay(next((word for word in words if not word.startswith("-")), "+1"))
    return asked


def delay(when: str) -> float:
    """Seconds until a time as `shutdown` takes it: now, +MINUTES, HH:MM."""
    if when == "now":
        return 0.0
    if re.fullmatch(r"\+?\d+", when):
        return 60.0 * int(when)
    hour, minute = map(int, when.split(":"))
    now = time.localtime()
    return ((hour - now.tm_hour) * 3600 + (minute - now.tm_min) * 60 - now.tm_sec) % 86400


if __name__ == "__main__":
    with PIPE.open("w") as pipe:
        pipe.write(json.dumps(wanted(Path(sys.argv[0]).name, sys.argv[1:])) + "\n")
