"""Time and memory of collecting and solving, beside the floor and beside the reference implementation."""

from mnemotomy_bench.speed.run import CASES, run_speed

__all__ = ["CASES", "run_speed"]
