"""TOFU's metrics as OpenUnlearning's evaluator defines them: pure functions of observations of answers."""
