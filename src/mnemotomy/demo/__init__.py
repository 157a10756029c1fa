"""The main job: decompose trained models into engrams, erase, and show what it did."""

from mnemotomy.demo.run import run_demo

__all__ = ["run_demo"]
