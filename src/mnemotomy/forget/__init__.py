"""Forgetting in one call: candidates, a search on the model itself, guards, a Pareto list."""

from mnemotomy.core.callable_package import call_as

call_as(__name__, f"{__name__}.forgetting")
