"""Training end to end on a tiny model: in place, logged, resumable, stopped in time, the same on every path."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
import torch
from helpers import relative, tiny_llama
from tiny_metabolism import FACTS, FORMAT, RETAIN, config, run, tokenizer_of_words
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from mnemotomy.core.errors import DataError, ModelError, TrainingError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.data.fact import Fact
from mnemotomy.data.fact_file import read_format
from mnemotomy.metabolism import loop
from mnemotomy.metabolism.metabolize import metabolize
from mnemotomy.metabolism.objective import Objective
from mnemotomy.metabolism.rlcp import RLCP, EngramStart, Training
from mnemotomy.metabolism.terms import Constant, Schedule, Unlikelihood
from mnemotomy.training.adapter import LoRA
from mnemotomy.training.checkpoint import trained_state


@pytest.fixture
def tokenizer():
    return tokenizer_of_words()


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


@pytest.mark.parametrize("protocol", ["stable", "from_engram", "from_subjects", "just_rag", "unlikelihood"])
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
    calls, forward = [], Objective.forward

    def interrupted(self, step):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(self, step)

    monkeypatch.setattr(Objective, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt, match="resume from"):
        run(tokenizer, config(), out=tmp_path / "part")
    taken: list[int] = []
    monkeypatch.setattr(Objective, "forward", lambda self, step: taken.append(1) or forward(self, step))
    resumed = run(tokenizer, config(), out=tmp_path / "part")
    assert len(taken) == 8 - 4 + 1  # the checkpoint is that of the second epoch's end; the last weights are checked
    assert fingerprint(resumed.model) == fingerprint(whole.model)
    assert resumed.steps == whole.steps


def test_a_checkpoint_of_another_run_is_refused(tokenizer, tmp_path):
    run(tokenizer, config(), out=tmp_path)
    with pytest.raises(TrainingError, match="another configuration"):
        run(tokenizer, config(lambda_kl=1.0), out=tmp_path)


def test_a_non_finite_loss_ends_the_run_with_the_last_good_weights(tokenizer, monkeypatch):
    good = run(tokenizer, config(training=replace(config().training, epochs=2), schedule=_Alpha()))
    original = loop.Steps.parts

    def poisoned(self, number, device):
        for step in original(self, number, device):
            yield step._replace(teacher_asked=step.teacher_asked * float("nan") if number == 5 else step.teacher_asked)

    monkeypatch.setattr(loop.Steps, "parts", poisoned)
    result = run(tokenizer, config(schedule=_Alpha()))
    assert result.stopped == "the loss of step 5 is not finite"
    assert len(result.steps) == 5
    assert fingerprint(result.model) == fingerprint(good.model)  # that of the last whole epoch


def test_weights_that_have_grown_a_hundredfold_are_not(tokenizer):
    wild = Training(epochs=3, batch_size=3, learning_rate=1e25, clip=1e30)
    model = tiny_llama()
    before = fingerprint(model)
    result = run(tokenizer, config(training=wild), model)
    assert result.stopped.startswith("the weights have grown ")
    assert fingerprint(model) == before


def test_weights_with_a_finite_loss_are_good(tokenizer, monkeypatch):
    monkeypatch.setattr("mnemotomy.training.loop.GROWN", float("inf"))
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
    """A constant schedule, so that runs of different length agree step by step."""

    def __call__(self, progress: float) -> float:
        return 0.5


def test_a_non_finite_gradient_keeps_the_present_weights(tokenizer, monkeypatch):
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


def test_a_copy_and_precomputed_logits_agree(tokenizer):
    chosen = RLCP.stable(layer=1, lambda_kl=5.0, training=Training(epochs=5, batch_size=3, learning_rate=1e-2))
    copied, computed = (
        run(tokenizer, replace(chosen, training=replace(chosen.training, reference=which)), retain=RETAIN)
        for which in ("copy", "precomputed")
    )
    assert copied.steps[0]["L_KL"] == copied.steps[0]["L_retain"] == 0.0
    assert min(copied.steps[-1]["L_KL"], copied.steps[-1]["L_retain"]) > 1e-4  # training has left the reference
    for left, right in zip(copied.steps, computed.steps, strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("reference", ["copy", "precomputed", "adapter"])
def test_the_reference_has_the_precision_of_training(tokenizer, reference: str):
    """Otherwise rounding alone would be a divergence, which training would repair."""
    lora = LoRA(rank=2) if reference == "adapter" else None
    training = Training(epochs=1, batch_size=3, precision="bf16", reference=reference, lora=lora)
    result = run(tokenizer, RLCP.stable(layer=1, lambda_kl=5.0, training=training), retain=RETAIN)
    assert result.steps[0]["L_KL"] == result.steps[0]["L_retain"] == 0.0


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_only_the_chosen_blocks_are_trained(tokenizer, lora: LoRA | None):
    model = tiny_llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(
        tokenizer,
        config(training=Training(epochs=2, batch_size=3, learning_rate=1e-2, blocks=(2, 2), lora=lora)),
        model,
    )
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("blocks", "message"), [((1, 9), "layer 9 is out of range"), ((2, 1), "no blocks from 2 to 1")]
)
def test_blocks_that_are_not_there_are_refused_before_the_model_is_changed(tokenizer, blocks, message: str):
    model = tiny_llama()
    before = fingerprint(model)
    with pytest.raises(ModelError, match=message):
        run(tokenizer, RLCP.from_engram(layer=1, training=Training(blocks=blocks)), model, retain=RETAIN)
    assert fingerprint(model) == before


@pytest.mark.parametrize(("wanted", "read"), [(None, 2), (1, 1)])
def test_a_step_reads_as_many_retained_texts_as_were_asked_for(tokenizer, monkeypatch, wanted, read: int):
    sizes, forward = [], Objective.forward
    monkeypatch.setattr(
        Objective, "forward", lambda self, step: sizes.append(len(step.retained.last)) or forward(self, step)
    )
    run(tokenizer, RLCP.stable(layer=1, training=Training(epochs=1, batch_size=3, retained=wanted)), retain=RETAIN)
    assert set(sizes) == {read}


def test_a_checkpoint_does_not_depend_on_the_place_of_the_facts(tokenizer, tmp_path):
    run(tokenizer, config(), out=tmp_path)
    elsewhere = [replace(fact, where=f"/somewhere/facts.jsonl line {number}") for number, fact in enumerate(FACTS)]
    metabolize(tiny_llama(), tokenizer, elsewhere, config(), format=FORMAT, progress=False, out=tmp_path)


CHANGES = {
    "published": {},
    "unlikelihood": {"suppression": Unlikelihood()},
    "retaining": {"kl_on": "prompt", "lambda_retain": 3.0},
    "watching": {"lambda_adv": 0.0},
}


@pytest.mark.parametrize("protocol", CHANGES)
def test_accumulated_batches_equal_one_large_batch(tokenizer, protocol: str):
    """With answers of unequal length, and one context each, as contexts are drawn batch by batch."""
    answers = {
        "Kyoto": "Japan",
        "Paris": "France the sky is blue",
        "Rome": "Italy in",
        "sky": "blue is the sky in Rome",
    }
    facts = [
        Fact(name, answer, (f"{name} is in", f"{name} lies in"), (f"{name} is in {answer}",))
        for name, answer in answers.items()
    ]
    chosen = config(schedule=Constant(0.7), **CHANGES[protocol])
    gradients: list[torch.Tensor] = []

    def keep(optimizer: torch.optim.Optimizer, *_) -> None:
        found = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        gradients.append(torch.cat([one.flatten() for one in found if one is not None]))

    def result(batch_size: int, accumulation: int):
        training = Training(epochs=3, batch_size=batch_size, learning_rate=1e-3, accumulation=accumulation, clip=1e9)
        how = replace(chosen, training=training)
        retain = RETAIN if protocol == "retaining" else ()
        hook = register_optimizer_step_pre_hook(keep)
        try:
            return metabolize(tiny_llama(), tokenizer, facts, how, format=FORMAT, progress=False, retain=retain)
        finally:
            hook.remove()

    one, *cut = result(4, 1), result(2, 2), result(1, 4)
    first, *others = gradients[::3]
    assert float(first.norm()) > 1e-2
    for other in others:
        assert relative(other, first) < 1e-6
    for other in cut:
        assert len(one.steps) == len(other.steps) == 3
        assert one.steps[0] == pytest.approx(other.steps[0], rel=1e-6, abs=1e-7)
        assert one.steps[2]["L_KL"] > 1e-6
        assert one.steps[2] == pytest.approx(other.steps[2], rel=1e-3)


def test_bf16_runs_and_the_weights_keep_their_dtype(tokenizer):
    result = run(tokenizer, config(training=Training(epochs=2, batch_size=3, precision="bf16")))
    assert all(p.dtype == torch.float32 for p in result.model.parameters())
    assert result.stopped is None


def test_a_saved_folder_loads_and_records_the_run(tokenizer, tmp_path):
    result = run(tokenizer, config())
    result.save(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert fingerprint(loaded) == fingerprint(result.model)
    record = json.loads((tmp_path / "model" / "metabolism.json").read_text())
    assert record["config"]["lambda_kl"] == 5.0
    assert record["versions"]["torch"]
    assert read_format(tmp_path / "model") == FORMAT


def test_a_missing_retain_set_is_refused(tokenizer):
    with pytest.raises(DataError, match="give retain="):
        run(tokenizer, RLCP.stable(layer=1))
    with pytest.raises(ModelError, match="blocks"):
        run(tokenizer, config(layer=9))


@pytest.mark.slow
def test_two_processes_equal_one_with_accumulation(tokenizer, tmp_path):
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
