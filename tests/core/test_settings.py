"""Settings: the three ways to write one, that what is written is read again, and errors that say where and what."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.settings import Choice
from mnemotomy.engram.cut import CUT, CUTS
from mnemotomy.engram.filters import FILTER
from mnemotomy.methods.language.hybrid import Hybrid
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.methods.registry import choice_of, methods
from mnemotomy.training.adapter import LoRA

METHOD = choice_of("language models")


@pytest.mark.parametrize(
    ("choice", "written", "meant"),
    [
        (CUT, "relative", mt.RelativeCut(1e-6)),
        (CUT, "relative=1e-4", mt.RelativeCut(1e-4)),
        (CUT, {"kind": "relative", "ratio": 1e-4}, mt.RelativeCut(1e-4)),
        (CUT, "{kind: relative, ratio: 1e-4}", mt.RelativeCut(1e-4)),
        (CUT, "float-eps", mt.FloatEpsCut()),
        (CUT, "rank=8", mt.RankCut(8)),
        (CUT, mt.RankCut(8), mt.RankCut(8)),
        (FILTER, "hard", mt.Hard(0.5)),
        (FILTER, "hard=0.2", mt.Hard(0.2)),
        (FILTER, {"filter": "hard", "threshold": 0}, mt.Hard(0.0)),
        (METHOD, "npo", NPO()),
        (METHOD, {"name": "npo", "epochs": 3, "retain_loss": "KL"}, NPO(epochs=3, retain_loss="KL")),
        (METHOD, {"name": "npo", "lora": {"rank": 4}, "alpha": 2}, NPO(lora=LoRA(rank=4), alpha=2.0)),
        (METHOD, {"name": "npo", "lora": LoRA(rank=4)}, NPO(lora=LoRA(rank=4))),
        (METHOD, {"name": "npo", "lora": None}, NPO()),
        (METHOD, {"name": "hybrid", "start": "uce"}, Hybrid("uce")),
        (
            METHOD,
            {"name": "hybrid", "start": {"method": "two-sided", "level": 6}, "then": {"name": "npo", "epochs": 2}},
            Hybrid(TwoSided(level=6.0), NPO(epochs=2)),
        ),
    ],
)
def test_what_is_written_is_what_is_meant(choice: Choice, written: Any, meant: Any) -> None:
    assert choice.parse(written) == meant
    assert choice.parse(json.loads(json.dumps(choice.describe(meant)))) == meant


def test_every_method_is_read_as_it_is_described() -> None:
    for name, kind in methods("language models").items():
        made: Any = kind()
        described = METHOD.describe(made)
        assert described["name"] == name
        assert METHOD.parse(json.loads(json.dumps(described))) == made
    lists = METHOD.parse({"name": "engram-steep", "sites": ["q_proj"], "layers": [1, 2]})
    assert (lists.sites, lists.layers) == (("q_proj",), (1, 2))
    hash(lists)


def test_what_is_in_no_registry_is_named_by_itself() -> None:
    assert Choice("cut", {"rank": CUTS["rank"]}).describe(mt.FloatEpsCut()) == {"kind": "FloatEpsCut()"}


@pytest.mark.parametrize(
    ("choice", "written", "message"),
    [
        (CUT, "fine", "unknown cut 'fine'; choose one of relative, float-eps, condition, rank, energy"),
        (CUT, 3, "unknown cut 3; choose one of"),
        (CUT, {"kind": ["a"]}, "unknown cut ['a']; choose one of"),
        (CUT, {"ratio": 1}, "unknown cut None; choose one of"),
        (CUT, "condition", "condition: needs 'condition'"),
        (CUT, "relative=x", "relative.ratio must be a valid number, not 'x'"),
        (CUT, "relative=2", "relative: a relative cut is a ratio"),
        (CUT, "{kind: relative", "not valid YAML"),
        (FILTER, "soft=1", "'soft' takes no value"),
        (FILTER, {"kind": "soft", "tau": 1}, "soft: unknown setting 'tau'; known: none"),
        (FILTER, {"kind": "hard", "treshold": 1}, "hard: unknown setting 'treshold'; did you mean 'threshold'?"),
        (METHOD, {"name": "npo", "beta": 0}, "npo: β is above 0"),
        (METHOD, {"name": "npo", "lora": 8}, "npo.lora must be a mapping, not 8"),
        (METHOD, {"name": "npo", "lora": [8]}, "npo.lora must be a mapping, not [8]"),
        (METHOD, {"name": "npo", "lora": {"ranks": 4}}, "npo.lora: unknown setting 'ranks'"),
        (METHOD, {"name": "npo", "lora": {"rank": 0}}, "npo.lora: an adapter's rank is at least 1"),
        (METHOD, {"name": "npo", "lora": {"rank": "many"}}, "npo.lora.rank must be a valid integer, not 'many'"),
        (METHOD, {"name": "task-arithmetic", "training": "abc"}, "training must be a mapping, not 'abc'"),
        (
            METHOD,
            {"name": "hybrid", "then": {"epochs": 2}},
            "hybrid.then: unknown method None; choose one of gr",
        ),
        (
            METHOD,
            {"name": "hybrid", "then": {"name": "uce"}},
            "hybrid.then: unknown method 'uce'; choose one",
        ),
        (METHOD, {"name": "hybrid", "start": {"name": "npo"}}, "hybrid: start must be a closed-form method, not npo"),
        (METHOD, {"name": "rmu", "layer": [1]}, "layer must be a valid integer or a valid number or a valid string"),
        (METHOD, {"name": "uce", "layers": 1}, "uce.layers must be a list, not 1"),
        (METHOD, {"name": "uce", "sites": [[1]]}, "uce.sites must be a valid string, not [[1]]"),
        (METHOD, {"name": "uce", "cut": None}, "uce.cut must be a valid number, not None"),
        (METHOD, {"name": "uce", "cut": float("nan")}, "uce.cut must be a finite number, not nan"),
        (METHOD, {"name": "uce", "rounds": 1.5}, "uce.rounds must be a valid integer, not 1.5"),
        (METHOD, {"name": "uce", "read": True}, "uce.read must be a valid integer, not True"),
        (METHOD, {"name": "two-sided", "log_odds": 1}, "two-sided.log_odds must be a valid boolean, not 1"),
        (
            METHOD,
            {"name": "uce", "positions": "first"},
            "must be 'answer', 'predicting' or 'all', not 'first'",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(choice: Choice, written: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        choice.parse(written)
    assert "\n" not in str(caught.value)
