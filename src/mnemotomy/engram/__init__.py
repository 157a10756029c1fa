"""AI Engram: find, weigh, erase and combine memory traces in closed form (Kwon et al. 2026, arXiv 2606.14997)."""
