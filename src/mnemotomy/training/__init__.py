"""Training: one loop for whole models and adapters, checkpoints, logs."""
