"""TOFU end to end: closed-form and gradient unlearning of language models, with every metric (Appendix E)."""
