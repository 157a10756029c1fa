"""Attacks on a claim of forgetting, each a value with its paper; a verdict; a report."""

from mnemotomy.core.callable_package import call_as

call_as(__name__, f"{__name__}.run")
