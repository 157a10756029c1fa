"""Every gradient method for language models on a tiny Llama: what it forgets, and that it is reproducible."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import same_state, state_of
from learned_cities import FAST, TEMPLATE, example, known, problem, trained
from torch import nn

from mnemotomy.core.errors import ArtifactError, ConfigurationError, DataError, ModelError
from mnemotomy.core.integrity import write_sealed
from mnemotomy.methods.language.alt_po import AltPO, alternate_answers
from mnemotomy.methods.language.grad_diff import GradDiff, GradientAscent
from mnemotomy.methods.language.gradient import GradientMethod, checkpoint_key
from mnemotomy.methods.language.hybrid import Hybrid
from mnemotomy.methods.language.idk import IdkDPO, IdkNLL, read_refusals, refused
from mnemotomy.methods.language.loop import Descent, DescentRun, steps_of_epoch
from mnemotomy.methods.language.npo import NPO, SimNPO
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem, sequences
from mnemotomy.methods.language.rlcp import RLCPObjective, RLCPUnlearning
from mnemotomy.methods.language.rmu import RMU, down_projections
from mnemotomy.methods.language.undial import UNDIAL
from mnemotomy.methods.registry import methods
from mnemotomy.text.encoding import IGNORED
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

SHORT: dict[str, Any] = {"alternates": 2, "max_new_tokens": 4}
WORKING: dict[str, GradientMethod] = {
    method.name: method
    for method in (
        GradientAscent(**FAST),
        GradDiff(**FAST),
        IdkNLL(**FAST),
        IdkDPO(**FAST),
        UNDIAL(**FAST),
        RMU(**FAST | {"learning_rate": 1e-1}, layer=1, steering=50.0),
        NPO(**FAST),
        SimNPO(**FAST, gamma=1.0),
        AltPO(**FAST, **SHORT),
        RLCPUnlearning(**FAST | {"learning_rate": 3e-2, "epochs": 8}),
    )
}


@functools.cache
def unlearned(name: str) -> nn.Module:
    return WORKING[name](problem())


def test_the_model_knows_before():
    assert known(problem().model, problem().forget) > -1.0


def test_the_registry_names_every_gradient_method():
    listed = {name for name, method in methods("language models").items() if method.family == "gradient"}
    assert listed == set(WORKING)


@pytest.mark.parametrize("name", WORKING)
def test_forgets_and_leaves_the_model_alone(name: str):
    asked = problem()
    before = state_of(asked.model)
    model = unlearned(name)
    assert known(model, asked.forget) < known(asked.model, asked.forget) - 0.5
    assert same_state(asked.model, before)
    assert not model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", WORKING)
def test_is_the_same_for_the_same_seed(name: str):
    assert same_state(WORKING[name](problem()), state_of(unlearned(name)))


@pytest.mark.parametrize("name", ["grad-diff", "npo", "simnpo"])
def test_spares_what_is_retained(name: str):
    asked, model = problem(), unlearned(name)
    forgotten, kept = (known(asked.model, of) - known(model, of) for of in (asked.forget, asked.retain))
    assert kept < forgotten / 2


def test_another_seed_is_another_run():
    assert not same_state(NPO(**FAST)(problem(seed=1)), state_of(unlearned("npo")))


def test_idk_nll_teaches_refusals():
    asked = problem()
    refusals = [example(one.turns[0].content, read_refusals()[0]) for one in asked.forget]
    assert known(unlearned("idk-nll"), refusals) > known(asked.model, refusals) + 20


def test_refusals_are_drawn_anew_and_reproducibly(tmp_path: Path):
    asked = problem()
    draw, run = refused(asked, None), DescentRun("test", 2, 4)
    first, second = (next(iter(steps_of_epoch(run, Descent(), epoch))) for epoch in (0, 1))
    assert draw(first) == refused(asked, None)(first) != draw(second)
    assert len(set(read_refusals())) >= 20
    (tmp_path / "own.txt").write_text("No idea.\n\n")
    assert read_refusals(tmp_path / "own.txt") == ("No idea.",)
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("empty.txt", "missing.txt"):
        with pytest.raises(DataError, match="refusal"):
            read_refusals(tmp_path / name)


def test_rmu_trains_the_down_projections_alone():
    asked = problem()
    before, after = state_of(asked.model), unlearned("rmu").state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == down_projections(asked.model, 1) == {"model.layers.0.mlp.down_proj.weight"}
    everything = RMU(**FAST, layer=1, trains="all")(asked).state_dict()
    assert not torch.equal(everything["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
    with pytest.raises(ModelError, match="is not a block"):
        RMU(layer="model.norm")(asked)


def test_alternates_are_kept_in_their_file(tmp_path: Path):
    asked, file = problem(), tmp_path / "alternates.json"
    method = AltPO(**SHORT, file=str(file))
    found = alternate_answers(asked, method)
    assert [len(texts) <= 2 for texts in found] == [True, True]
    assert found == alternate_answers(asked, AltPO(**SHORT))
    kept = json.loads(file.read_text())["data"]
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"answers"', b'"answer5"'))
    with pytest.raises(ArtifactError, match="is damaged"):
        alternate_answers(asked, method)
    file.write_text(json.dumps(kept | {"answers": [["Rome"], ["Paris"]]}))  # as earlier versions wrote it
    with pytest.warns(UserWarning, match="no hash"):
        assert alternate_answers(asked, method) == [("Rome",), ("Paris",)]
    write_sealed(file, kept | {"answers": [["Rome"], ["Paris"]]})
    assert alternate_answers(problem(seed=1), method) != [("Rome",), ("Paris",)]
    asked_otherwise = dataclasses.replace(asked, template=Template(system=None))
    assert alternate_answers(asked_otherwise, method) != [("Rome",), ("Paris",)]
    file.write_text("[]")
    with pytest.warns(UserWarning, match="no hash"), pytest.raises(DataError, match="alternate answers"):
        alternate_answers(asked, method)


def test_rlcp_reads_the_first_token_of_the_answer_where_it_is_predicted():
    asked = problem()
    objective = RLCPObjective(RLCPUnlearning(), asked)
    firsts = [next(label for label in row.labels if label != IGNORED) for row in objective.asked]
    assert objective.classes == [sorted(set(firsts)).index(token) for token in firsts]
    told = asked.tokenizer.decode(objective.told[0].input_ids)
    assert "Context: Kyoto lies in Japan .\nIn which country is Kyoto?" in told
    step = next(iter(steps_of_epoch(DescentRun("test", 2, 4), Descent(), 0)))
    for on in ("retain", "asked"):
        method = RLCPUnlearning(lambda_adv=0.0, lambda_rag=0.0, suppression=0.0, kl_on=on)
        assert float(RLCPObjective(method, asked)(asked.model, step).detach()) == pytest.approx(0.0, abs=1e-6)


def test_rlcp_counts_the_answers_tokens_alike():
    """The terms on answers read from context and on retained ones, against whole forward passes of each example."""
    asked, off = problem(), {"lambda_adv": 0.0, "suppression": 0.0}
    step = next(iter(steps_of_epoch(DescentRun("test", 2, 4), Descent(), 0)))
    model = copy.deepcopy(asked.model)
    with torch.no_grad():
        model.lm_head.weight.add_(0.05 * torch.randn(model.lm_head.weight.shape, generator=torch.manual_seed(0)))

    def whole(of: nn.Module, row: Any) -> torch.Tensor:
        counted = torch.tensor(row.labels[1:]) != IGNORED
        return of(torch.tensor([row.input_ids])).logits[0, :-1][counted].log_softmax(-1)

    objective = RLCPObjective(RLCPUnlearning(**off, lambda_kl=0.0, lambda_rag=1.0), asked)
    told = [objective.told[index] for index in step.forget]
    targets = torch.tensor([label for row in told for label in row.labels if label != IGNORED])
    spoken = torch.cat([whole(model, row) for row in told])
    expected = nn.functional.nll_loss(spoken, targets)
    torch.testing.assert_close(objective(model, step), expected, atol=1e-5, rtol=1e-4)

    objective = RLCPObjective(RLCPUnlearning(**off, lambda_kl=1.0, lambda_rag=0.0), asked)
    rows = sequences(asked, asked.retain)
    kept = [rows[index] for index in step.retain]
    found, reference = (torch.cat([whole(of, row) for row in kept]) for of in (model, asked.model))
    expected = (reference.exp() * (reference - found)).sum(-1).mean()
    assert float(expected.detach()) > 1e-3
    torch.testing.assert_close(objective(model, step), expected, atol=1e-5, rtol=1e-4)


def test_kl_keeps_the_retained_answers():
    asked = problem()
    model = GradDiff(**FAST, retain_loss="KL", alpha=5.0)(asked)
    assert known(asked.model, asked.retain) - known(model, asked.retain) < 1.0


class Shrunk(LanguageMethod):
    """A closed form that halves the output head."""

    family = "closed form"

    def __call__(self, problem: TextProblem) -> nn.Module:
        model = copy.deepcopy(problem.model)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(0.5)
        return model


def test_hybrid_trains_from_a_closed_form():
    asked = problem()
    then = NPO(**FAST | {"epochs": 1})
    expected = then.train(asked, Shrunk()(asked))
    assert same_state(Hybrid(Shrunk(), then)(asked), state_of(expected))
    with pytest.raises(ConfigurationError, match="no method"):
        Hybrid("nothing")
    with pytest.raises(ConfigurationError, match="closed-form"):
        Hybrid("npo")
    with pytest.raises(ConfigurationError, match="gradient method"):
        Hybrid(Shrunk(), Shrunk())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "values"),
    [
        (GradDiff, {"learning_rate": 0.0}),
        (GradDiff, {"epochs": 0}),
        (GradDiff, {"clip": 0.0}),
        (GradDiff, {"warmup_epochs": -1.0}),
        (GradDiff, {"precision": "fp8"}),
        (GradDiff, {"alpha": -1.0}),
        (GradDiff, {"retain_loss": "L2"}),
        (NPO, {"beta": 0.0}),
        (SimNPO, {"beta": -1.0}),
        (IdkDPO, {"beta": 0.0}),
        (UNDIAL, {"beta": -1.0}),
        (RMU, {"steering": 0.0}),
        (RMU, {"trains": "some"}),
        (RMU, {"retain_loss": "L2"}),
        (AltPO, {"temperature": 0.0}),
        (RLCPUnlearning, {"lambda_kl": -1.0}),
        (RLCPUnlearning, {"kl_on": "everything"}),
    ],
)
def test_bad_values(method: type[GradientMethod], values: dict[str, Any]):
    with pytest.raises(ConfigurationError):
        method(**values)


@pytest.mark.parametrize("name", ["idk-nll", "idk-dpo", "alt-po", "rlcp"])
def test_texts_have_no_question(name: str):
    text = TextExample.of_text("Kyoto lies in Japan .", "here")
    model, tokenizer = trained()
    assert "questions" in WORKING[name].needs
    with pytest.raises(DataError, match="question"):
        WORKING[name](TextProblem(model, tokenizer, [text], [text], TEMPLATE))
    GradDiff(**FAST | {"epochs": 1})(TextProblem(model, tokenizer, [text], [text], TEMPLATE))


def test_a_long_prompt_leaves_no_answer():
    asked = problem()
    long = example("In which country is " + 300 * "Kyoto " + "?", "Japan")
    with pytest.raises(DataError, match="only 512 are kept"):
        GradDiff(**FAST)(dataclasses.replace(asked, retain=[long]))


def test_the_content_of_files_is_part_of_the_key(tmp_path: Path):
    asked, file = problem(), tmp_path / "refusals.txt"
    keys = []
    for words in ("I do not know.", "No idea."):
        file.write_text(words)
        for method in (IdkNLL(refusals=str(file)), IdkDPO(refusals=str(file))):
            assert method.material() == (words,)
            keys.append(checkpoint_key(method, asked, asked.model))
    assert len(set(keys)) == 4
    assert IdkNLL().material() == ()
    assert Hybrid(then=IdkNLL(refusals=str(file))).material() == ("No idea.",)
