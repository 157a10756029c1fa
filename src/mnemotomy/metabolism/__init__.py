"""Digital metabolism (Fang & Sun 2026): training that leaves facts to the context."""
