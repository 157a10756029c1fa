"""Class-wise unlearning: Table 2 of arXiv 2606.14997 with its baselines, and the engrams of classes."""
