"""The papers' experiments and the speed runs; each result cached by its content."""
