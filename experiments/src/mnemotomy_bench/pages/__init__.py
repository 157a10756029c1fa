"""The tables of the README and of ``docs/results``, generated from the results in JSON."""
