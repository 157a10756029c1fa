"""Plans carried out by processes: stages in order, plans side by side, errors to the caller, memory kept."""

from __future__ import annotations

import multiprocessing
import operator
import os
import time

import pytest

from mnemotomy.bench.pool import TUNABLES, Plan, Task, Workers


def tuned() -> str:
    return os.environ["GLIBC_TUNABLES"]


def test_stages_follow_each_other_and_plans_go_on_alone(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=0")
    found: dict[str, list[list[object]]] = {"sums": [], "slow": []}
    ended: list[str] = []

    def sums() -> Plan:
        first = yield [Task(operator.add, (1, 2)), Task(operator.add, (3, 4))]
        nothing = yield []
        second = yield [Task(operator.mul, tuple(first)), Task(tuned)]
        found["sums"] += [first, nothing, second]
        ended.append("sums")

    def slow() -> Plan:
        found["slow"].append((yield [Task(time.sleep, (2.0,))]))
        ended.append("slow")

    with Workers(2) as workers:
        workers.carry_out("both", [slow(), sums()])
    first, nothing, (product, tunables) = found["sums"]
    assert (first, nothing, product) == ([3, 7], [], 21)
    assert found["slow"] == [[None]]
    assert ended == ["sums", "slow"]  # the second stage did not wait for the other plan
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
    for child in multiprocessing.active_children():
        if child not in before:
            child.join(20)
            assert not child.is_alive()


def test_a_plan_without_tasks_is_over_at_once():
    def empty() -> Plan:
        yield []

    with Workers(1) as workers:
        workers.carry_out("nothing", [empty()])
