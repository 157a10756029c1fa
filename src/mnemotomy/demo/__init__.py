"""The first job: decompose trained models into engrams, erase some, and show the effect."""

from mnemotomy.demo.run import run_demo

__all__ = ["run_demo"]
