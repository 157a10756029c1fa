"""The evaluation of a model: every split observed once, every metric that they allow."""
