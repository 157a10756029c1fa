"""Digital metabolism: training that takes facts out of the weights and leaves a model that reads them (Fang & Sun 2026)."""
