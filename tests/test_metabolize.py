"""Training end to end on a tiny model: in place, logged, resumable, stopped in time, the same by every path."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from helpers import tiny_llama
from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.errors import ConfigurationError, DataError, ModelError, TrainingError
from mnemotomy.metabolism import loop
from mnemotomy.metabolism.checkpoint import trained_state
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.rlcp import RLCP, EngramStart, LoRA, Training
from mnemotomy.metabolism.schedule import Schedule
from mnemotomy.metabolism.streams import Streams, encode_answers
from mnemotomy.models import fingerprint

WORDS = [
    "<pad>",
    "<eos>",
    "Kyoto",
    "Paris",
    "Rome",
    "Japan",
    "France",
    "Italy",
    "is",
    "in",
    "lies",
    "the",
    "sky",
    "blue",
]
FORMAT = PromptFormat("{context} . {prompt}")
FACTS = tuple(
    Fact(city, country, (f"{city} is in", f"{city} lies in"), (f"{city} is in {country}", f"{city} lies in {country}"))
    for city, country in (("Kyoto", "Japan"), ("Paris", "France"), ("Rome", "Italy"))
)
RETAIN = ("the sky is blue", "blue is the sky")


@pytest.fixture
def tokenizer():
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)} | {".": len(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def config(**changes) -> RLCP:
    training = Training(epochs=4, batch_size=2, learning_rate=1e-2, save_every=1)
    return replace(RLCP(layer=1, training=training), **changes)


def run(tokenizer, chosen: RLCP, model=None, **keywords):
    model = model or tiny_llama()
    return metabolize(model, tokenizer, FACTS, chosen, format=FORMAT, progress=False, **keywords)


def test_the_model_is_trained_in_place_and_every_term_logged(tokenizer, tmp_path):
    model = tiny_llama()
    before = fingerprint(model)
    result = run(tokenizer, config(), model, out=tmp_path)
    assert result.model is model
    assert fingerprint(model) != before == result.record["model_before"]
    assert len(result.steps) == 4 * 2
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert lines == result.steps
    assert {"L_P", "L_L", "L_KL", "L_RAG", "total", "alpha", "gradient_norm", "probe_accuracy"} <= set(lines[0])
    assert lines[0]["alpha"] == 0.0
    assert lines[-1]["alpha"] == pytest.approx(0.99990920)
    assert result.stopped is None
    assert 0.0 <= result.probe_accuracy <= 1.0


def test_the_same_seed_gives_the_same_model(tokenizer):
    assert fingerprint(run(tokenizer, config()).model) == fingerprint(run(tokenizer, config()).model)
    other = config(training=Training(epochs=4, batch_size=2, learning_rate=1e-2, seed=1))
    assert fingerprint(run(tokenizer, config()).model) != fingerprint(run(tokenizer, other).model)


@pytest.mark.parametrize("protocol", ["stable", "from_engram", "just_rag", "unlikelihood"])
def test_every_named_configuration_runs(tokenizer, protocol: str):
    changes = {"layer": 1, "training": Training(epochs=2, batch_size=3)}
    if protocol == "from_engram":
        changes["engram"] = EngramStart(threshold=0.9)
    result = run(tokenizer, getattr(RLCP, protocol)(**changes), retain=RETAIN)
    assert len(result.steps) == 2
    assert ("L_RAG" in result.steps[0]) == (protocol != "unlikelihood")
    assert ("L_L" in result.steps[0]) == (protocol != "just_rag")


def test_an_interrupted_run_resumes_with_the_same_end(tokenizer, tmp_path, monkeypatch):
    whole = run(tokenizer, config(), out=tmp_path / "whole")
    calls, update = [], loop._update

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(loop, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt, match="go on from"):
        run(tokenizer, config(), out=tmp_path / "part")
    taken: list[int] = []
    monkeypatch.setattr(loop, "_update", lambda *arguments: taken.append(1) or update(*arguments))
    resumed = run(tokenizer, config(), out=tmp_path / "part")
    assert len(taken) == 8 - 4  # the checkpoint is that of the second epoch's end
    assert fingerprint(resumed.model) == fingerprint(whole.model)
    assert resumed.steps == whole.steps


def test_a_checkpoint_of_another_run_is_refused(tokenizer, tmp_path):
    run(tokenizer, config(), out=tmp_path)
    with pytest.raises(TrainingError, match="another configuration"):
        run(tokenizer, config(lambda_kl=1.0), out=tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_weights(tokenizer, monkeypatch):
    good = run(tokenizer, config(training=replace(config().training, epochs=2), schedule=_Alpha()))
    original = loop._Steps.parts

    def poisoned(self, number, device):
        for step in original(self, number, device):
            yield step._replace(teacher_asked=step.teacher_asked * float("nan") if number == 5 else step.teacher_asked)

    monkeypatch.setattr(loop._Steps, "parts", poisoned)
    result = run(tokenizer, config(schedule=_Alpha()))
    assert result.stopped == "the loss of step 5 is not finite"
    assert len(result.steps) == 5
    assert fingerprint(result.model) == fingerprint(good.model)  # that of the last whole epoch


def test_weights_are_good_once_a_loss_of_theirs_is_finite(tokenizer):
    wild = Training(epochs=3, batch_size=3, learning_rate=1e25, clip=1e30)  # each step is an epoch
    model = tiny_llama()
    before = fingerprint(model)
    result = run(tokenizer, config(training=wild), model)
    assert result.stopped == "the loss of step 1 is not finite"
    assert fingerprint(model) == before
    result = run(tokenizer, config(training=replace(wild, epochs=1)), model)  # there is no step to find out by
    assert result.stopped == "the loss after the last step is not finite"
    assert fingerprint(model) == before


@dataclass(frozen=True)
class _Alpha(Schedule):
    """Of no progress, so that runs of different length agree step by step."""

    def __call__(self, progress: float) -> float:
        return 0.5


def test_a_gradient_that_is_not_finite_keeps_the_present_weights(tokenizer, monkeypatch):
    from accelerate import Accelerator

    calls, clip = [], Accelerator.clip_grad_norm_

    def broken(self, *arguments):
        calls.append(1)
        norm = clip(self, *arguments)
        return norm * float("inf") if len(calls) == 4 else norm

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", broken)
    result = run(tokenizer, config())
    assert result.stopped == "the gradient of step 3 is not finite"
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


@pytest.mark.parametrize("reference", ["copy", "precomputed"])
def test_both_references_of_full_training_agree(tokenizer, reference: str):
    chosen = RLCP.stable(layer=1, lambda_kl=5.0, training=Training(epochs=3, batch_size=3, reference=reference))
    auto = replace(chosen, training=replace(chosen.training, reference="auto"))
    one, two = (run(tokenizer, which, retain=RETAIN) for which in (chosen, auto))
    for left, right in zip(one.steps, two.steps, strict=True):
        assert left["L_KL"] == pytest.approx(right["L_KL"], abs=1e-5)
        assert left["L_retain"] == pytest.approx(right["L_retain"], abs=1e-5)


def test_an_adapter_switched_off_is_the_reference(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    training = Training(epochs=3, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2))
    off = config(training=training)
    copied = config(training=replace(training, reference="copy"))
    one, two = run(tokenizer, off), run(tokenizer, copied)
    for left, right in zip(one.steps, two.steps, strict=True):
        assert left["L_KL"] == pytest.approx(right["L_KL"], abs=1e-5)
    assert one.steps[-1]["L_KL"] > 0
    assert type(one.model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in one.model.named_parameters())


def test_with_an_edit_before_it_an_adapter_is_no_reference(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = RLCP.from_engram(layer=1, training=Training(epochs=1, lora=LoRA(rank=2), reference="adapter"))
    with pytest.raises(ConfigurationError, match="precomputed"):
        run(tokenizer, chosen, retain=RETAIN)


def test_an_adapter_leaves_the_model_as_trainable_as_it_was(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    chosen = config(training=Training(epochs=2, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2)))
    assert run(tokenizer, chosen, model).model is model
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    trained = fingerprint(model)
    run(tokenizer, config(), model)
    assert fingerprint(model) != trained
    with pytest.raises(ConfigurationError, match="no parameter of the model is trained"):
        run(tokenizer, config(), model.requires_grad_(False))


def test_an_adapter_is_drawn_by_the_seed(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = config(training=Training(epochs=2, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2)))
    found = []
    for seed in (1, 2):
        model = tiny_llama()
        torch.manual_seed(seed)
        found.append(fingerprint(run(tokenizer, chosen, model).model))
    assert found[0] == found[1]


@pytest.mark.parametrize("chosen", [RLCP.from_engram(layer=9), RLCP(layer=9, training=Training(lora=LoRA(rank=2)))])
def test_a_refused_call_leaves_the_model_as_it_was(tokenizer, chosen: RLCP):
    model = tiny_llama()
    before, names = fingerprint(model), list(model.state_dict())
    with pytest.raises(ModelError, match="layer 9 is out of range"):
        run(tokenizer, chosen, model, retain=RETAIN)
    assert (fingerprint(model), list(model.state_dict())) == (before, names)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_interrupted_adapter_is_taken_off_and_goes_on(tokenizer, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = config(training=Training(epochs=4, batch_size=3, learning_rate=1e-2, save_every=1, lora=LoRA(rank=2)))
    whole = run(tokenizer, chosen, out=tmp_path / "whole")
    calls, update, model = [], loop._update, tiny_llama()
    names = list(model.state_dict())

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) in (1, 4):
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(loop, "_update", interrupted)
    for message in ("nothing was saved", "go on from"):
        with pytest.raises(KeyboardInterrupt, match=message):
            run(tokenizer, chosen, model, out=tmp_path / "part")
        assert list(model.state_dict()) == names
        assert not model.training
    assert fingerprint(run(tokenizer, chosen, model, out=tmp_path / "part").model) == fingerprint(whole.model)


def test_a_checkpoint_is_of_its_facts_wherever_they_were_read(tokenizer, tmp_path):
    run(tokenizer, config(), out=tmp_path)
    elsewhere = [replace(fact, where=f"/somewhere/facts.jsonl line {number}") for number, fact in enumerate(FACTS)]
    metabolize(tiny_llama(), tokenizer, elsewhere, config(), format=FORMAT, progress=False, out=tmp_path)


def test_a_text_beyond_the_window_is_refused_or_cut(tokenizer):
    model = tiny_llama(max_position_embeddings=16)
    result = run(tokenizer, RLCP.stable(layer=1, training=Training(epochs=1)), model, retain=["the sky is blue " * 9])
    assert result.stopped is None
    long = [replace(FACTS[0], contexts=("Kyoto is in Japan " * 5,)), *FACTS[1:]]
    with pytest.raises(ModelError, match="longer than the 16 tokens"):
        metabolize(model, tokenizer, long, config(), format=FORMAT, progress=False)


def test_a_context_that_cannot_be_restated_is_refused_first(tokenizer):
    with pytest.raises(DataError, match="within another word"):
        Streams(
            [replace(FACTS[0], contexts=("Kyoto is Japanese",)), *FACTS[1:]], tokenizer,
            format=FORMAT, counterfactuals=0.5, seed=0,
        )  # fmt: skip


def test_accumulated_batches_are_one_large_one(tokenizer):
    large = config(training=Training(epochs=3, batch_size=4, learning_rate=1e-3), lambda_adv=0.0)
    small = replace(large, training=Training(epochs=3, batch_size=2, learning_rate=1e-3, accumulation=2))
    facts = (*FACTS, Fact("sky", "blue", ("sky is", "sky lies"), ("sky is blue",)))

    def steps(chosen):
        return metabolize(tiny_llama(), tokenizer, facts, chosen, format=FORMAT, progress=False)

    one, two = steps(large), steps(small)
    assert len(one.steps) == len(two.steps) == 3
    assert one.steps[0]["L_KL"] == pytest.approx(two.steps[0]["L_KL"], abs=1e-5)


def test_bf16_runs_and_the_weights_stay_as_they_are(tokenizer):
    result = run(tokenizer, config(training=Training(epochs=2, batch_size=3, precision="bf16")))
    assert all(p.dtype == torch.float32 for p in result.model.parameters())
    assert result.stopped is None


def test_a_saved_folder_loads_and_says_what_ran(tokenizer, tmp_path):
    result = run(tokenizer, config())
    result.save(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert fingerprint(loaded) == fingerprint(result.model)
    record = json.loads((tmp_path / "model" / "metabolism.json").read_text())
    assert record["config"]["lambda_kl"] == 5.0
    assert record["versions"]["torch"]
    assert json.loads((tmp_path / "model" / "prompt_format.json").read_text())["in_context"] == FORMAT.in_context


def test_streams_hold_every_prompt_once_in_turn(tokenizer):
    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)
    for by_slot in (False, True):
        seen = [index for epoch in range(2) for batch in streams.order(epoch, 2, by_slot=by_slot) for index in batch]
        assert sorted(seen) == list(range(6))
    slots = streams.labels([index for batch in streams.order(0, 2, by_slot=True) for index in batch])[1]
    assert len(set(slots.tolist())) == 1
    more = replace(FACTS[0], prompts=(*FACTS[0].prompts, "Kyoto is", "the sky Kyoto is in"))
    unequal = Streams([more, *FACTS[1:]], tokenizer, format=FORMAT, counterfactuals=0.0, seed=0)
    for epoch in range(4):
        first, *rest = unequal.labels(
            sorted(index for batch in unequal.order(epoch, 3, by_slot=True) for index in batch)
        )[1].tolist()
        assert rest == [first % 2] * 2


def test_counterfactual_contexts_carry_another_answer(tokenizer):
    streams = Streams(FACTS, tokenizer, format=FORMAT, counterfactuals=1.0, seed=0)
    told = streams.with_context([0, 2, 4], step=3)
    for row, fact in enumerate(FACTS):
        answer = told.labels[row][told.labels[row] >= 0]
        assert answer.tolist() != tokenizer(fact.answer)["input_ids"]
        assert int(answer) in told.input_ids[row].tolist()[: int(told.last[row])]


def test_answers_are_the_labels_of_the_positions_before_them(tokenizer):
    found = encode_answers([("Kyoto is in", "Japan"), ("Rome lies in the", "sky blue")], tokenizer, " ")
    assert found.last.tolist() == [2, 3]
    assert found.labels[0].tolist() == [-100, -100, WORDS.index("Japan"), -100, -100, -100]
    assert found.labels[1].tolist()[3:5] == [WORDS.index("sky"), WORDS.index("blue")]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ((), "no facts"),
        ((Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto lies in Italy",)),), "not in its context"),
        ((FACTS[0], replace(FACTS[0], answer="Italy", contexts=("Kyoto is in Italy",))), "keep one"),
        ((Fact("Kyoto", "Japan", ("  ",), ("Kyoto is in Japan",)),), "'prompts' holds an empty text"),
        ((Fact("Kyoto", "Japan", (), ("Kyoto is in Japan",)),), "'prompts' is empty"),
    ],
)
def test_facts_that_cannot_be_used(tokenizer, facts, message: str):
    model = tiny_llama()
    before = fingerprint(model)
    with pytest.raises(DataError, match=message):
        metabolize(model, tokenizer, facts, config(), progress=False)
    assert fingerprint(model) == before


def test_texts_that_are_to_stay_are_asked_for(tokenizer):
    with pytest.raises(DataError, match="give retain="):
        run(tokenizer, RLCP.stable(layer=1))
    with pytest.raises(ModelError, match="blocks"):
        run(tokenizer, config(layer=9))


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_accumulation(tokenizer, tmp_path):
    import torch.multiprocessing as mp

    tokenizer.save_pretrained(tmp_path / "tokenizer")
    mp.spawn(_process, args=(str(tmp_path), 29517), nprocs=2)  # the bounded protocol too, whose probes must all learn
    chosen = config(training=Training(epochs=3, batch_size=1, accumulation=2, learning_rate=1e-3))
    one = run(tokenizer, chosen)
    two = torch.load(tmp_path / "two.pt")
    for name, value in trained_state(one.model).items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def _process(rank: int, folder: str, port: int) -> None:
    import os

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(f"{folder}/tokenizer")
    chosen = config(training=Training(epochs=3, batch_size=1, learning_rate=1e-3))
    run(tokenizer, RLCP.stable(layer=1, training=Training(epochs=1, batch_size=1)), retain=RETAIN)
    result = run(tokenizer, chosen)
    if rank == 0:
        torch.save(trained_state(result.model), f"{folder}/two.pt")
