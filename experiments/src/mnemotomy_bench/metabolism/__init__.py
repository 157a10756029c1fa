"""Digital metabolism: the published protocol, its baselines and ablations, and the variants that work."""
