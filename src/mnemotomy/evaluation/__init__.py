"""The evaluation of a model: every split observed once, every metric computed from that."""
