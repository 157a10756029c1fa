"""What each metric says, in one line, and which way is better."""

from __future__ import annotations

_SETS = {"forget": "forget set", "retain": "retain set", "ra": "real authors", "wf": "world facts"}
_WANTED = {"forget": "lower is better forgotten"}
_KEPT = "higher is better kept"

_OF_A_SET = {
    "Q_A_Prob": "probability of the true answers, per token",
    "Q_A_PARA_Prob": "probability of the true answers in other words, per token",
    "Q_A_PERT_Prob": "probability of false answers, per token",
    "Q_A_Prob_normalised": "probability of the true answer among its options",
    "Q_A_ROUGE": "share of the true answer's words in what the model writes (ROUGE-L recall)",
    "Truth_Ratio": "how much less likely false answers are; 0 if as likely as true ones",
}

_ALONE = {
    "exact_memorization": "share of the forgotten answers' tokens that are the likeliest; lower is better forgotten",
    "extraction_strength": "share of a forgotten answer that the model completes alone; lower is better forgotten",
    "forget_truth_ratio": "1 if true and false answers are equally likely, as if never learned; 0 if one is certain",
    "model_utility": "harmonic mean of nine numbers on retain set, real authors and world facts; higher is better kept",
    "forget_quality": "p-value that the truth ratios are the gold model's; above 0.05 they cannot be told apart",
    "forget_fluency": "probability that what the model writes to forgotten questions is clean text; higher is better",
    "forget_perplexity_base": "perplexity of these answers under the base model; lower is more fluent",
    "overall": "harmonic mean of memorization, utility and privacy, from 0 to 1 (Table 6)",
    "memorization": "1 if nothing more is memorized than in the gold model, 0 if as much as before",
    "utility": "1 if as useful as before",
    "privacy": "1 if no attack tells its forgotten answers from the gold model's",
}
_ATTACK = "AUC of an attack that tells the forget set from the hold-out; 0.5 if it cannot"
_SCORES = {
    **dict.fromkeys(("em", "es", "pp", "tr"), "between the gold model's (0) and before's (1); lower is better"),
    **dict.fromkeys(("mu", "ff", "ff_perplexity"), "relative to before; 1 if nothing was lost"),
    **dict.fromkeys(("s_loss", "s_zlib", "s_min_k", "s_min_k_plus_plus"), "1 − 2 |AUC − 0.5|; 1 if the attack fails"),
    "forget_quality": "log10 of the p-value; 0 at best",
}


def meaning(metric: str) -> str:
    """One line about a metric or a score of Table 6; empty for one that this module does not know."""
    if metric.startswith("score "):
        name = metric.removeprefix("score ")
        return (_ALONE | _SCORES).get(name, "")
    if metric in _ALONE:
        return _ALONE[metric]
    if metric.startswith("mia_"):
        return _ATTACK
    part, _, kind = metric.partition("_")
    if part not in _SETS or kind not in _OF_A_SET:
        return ""
    better = "" if kind == "Q_A_PERT_Prob" else f"; {_WANTED.get(part, _KEPT)}"
    return f"{_SETS[part]}: {_OF_A_SET[kind]}{better}"
