"""Plans carried out by processes: stages in order, plans side by side, errors to the caller, memory kept."""

from __future__ import annotations

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnemotomy_bench.lab.pool import TUNABLES, Plan, Task, Workers


def tuned() -> str:
    return os.environ["GLIBC_TUNABLES"]


def until_there(path: Path) -> None:
    """Wait for a file.

    Raises:
        TimeoutError: it is not there after a minute.
    """
    end = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.01)


def test_stages_follow_each_other_and_plans_go_on_alone(monkeypatch, tmp_path):
    """The one plan ends only when the other has come to its second stage, which therefore does not wait for it."""
    there = tmp_path / "second-stage"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=0")
    found: dict[str, list[list[object]]] = {"sums": [], "slow": []}

    def sums() -> Plan:
        first = yield [Task(operator.add, (1, 2)), Task(operator.add, (3, 4))]
        nothing = yield []
        second = yield [Task(operator.mul, tuple(first)), Task(tuned), Task(Path.touch, (there,))]
        found["sums"] += [first, nothing, second]

    def slow() -> Plan:
        found["slow"].append((yield [Task(until_there, (there,))]))

    with Workers(2) as workers:
        workers.carry_out("both", [slow(), sums()])
    first, nothing, (product, tunables, _) = found["sums"]
    assert (first, nothing, product) == ([3, 7], [], 21)
    assert found["slow"] == [[None]]
    assert tunables == ":".join([*TUNABLES, "glibc.malloc.perturb=0"])
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.perturb=0"


def test_an_error_ends_the_others():
    before = multiprocessing.active_children()
    start = time.monotonic()

    def failing() -> Plan:
        yield [Task(operator.truediv, (1, 0)), Task(time.sleep, (60.0,))]

    with pytest.raises(ZeroDivisionError), Workers(2) as workers:
        workers.carry_out("failing", [failing()])
    assert time.monotonic() - start < 50
    deadline = time.monotonic() + 20
    # asked again: a child that the pool's own thread has just waited for seems alive until that thread says so
    while (left := set(multiprocessing.active_children()) - set(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


KILLED = """
import multiprocessing, os, signal, threading, time
from mnemotomy_bench.lab.pool import Task, Workers

def pause():
    time.sleep(600)

def plan():
    yield [Task(os.getpid)]
    threading.Timer(1.0, kill).start()
    yield [Task(pause), Task(pause)]

def kill():
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with Workers(2) as workers:
        workers.carry_out("killed", [plan()])
"""


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/status").read_text().split("State:")[1][:4]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc, which Linux has")
def test_nothing_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    result = subprocess.run([sys.executable, str(script)], check=False, stdout=subprocess.PIPE, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL
    children = [int(pid) for pid in result.stdout.split()]
    assert len(children) >= 1
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in children) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in children)


def test_a_plan_without_tasks_is_over_at_once():
    def empty() -> Plan:
        yield []

    with Workers(1) as workers:
        workers.carry_out("nothing", [empty()])
