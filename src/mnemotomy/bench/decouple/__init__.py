"""Facts moved out of a model into a store: who answers, what goes stale, what is gone once it is deleted."""
