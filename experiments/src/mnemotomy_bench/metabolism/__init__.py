"""Digital metabolism measured: the published protocol, its baselines and ablations, and the forms that work."""
