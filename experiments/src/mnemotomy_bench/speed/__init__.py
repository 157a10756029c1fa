"""Time and memory of collecting and solving, against the floor and the reference implementation."""

from mnemotomy_bench.speed.run import cases, pretrained_cases, run_speed

__all__ = ["cases", "pretrained_cases", "run_speed"]
