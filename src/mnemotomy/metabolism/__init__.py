"""Digital metabolism (Fang & Sun 2026): training that moves facts from the weights to the context."""
