"""`dstack machines`: here, where a machine is a process and costs nothing."""

from __future__ import annotations


def test_none(dstack, scene):
    assert dstack("machines").out == "There are no machines.\n"
    assert dstack("machines", "--json").json == {"remote": "local", "machines": [], "ended": []}


def test_the_machines_of_active_runs(dstack, scene):
    scene.run("x-1")
    scene.finished("x-2")
    (row,) = dstack("machines", "--json").json["machines"]
    assert (row["run"], row["type"], row["status"], row["price"], row["cost"]) == ("x-1", "local", "starting", 0, 0)
    title, line = dstack("machines").out.splitlines()
    assert title.split() == ["MACHINE", "RUN", "TYPE", "REGION", "STATUS", "PRICE", "AGE", "COST"]
    assert line.split()[:4] == [row["machine"], "x-1", "local", "starting"]
    assert dstack("machines", "--sweep").out.splitlines()[0] == title
