"""Whether a model has forgotten: attacks on the claim, each with its paper, and a verdict with its rules."""
