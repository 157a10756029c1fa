"""The experiments behind Mnemotomy: the papers' tables and figures, speed runs, toy worlds."""
