"""`metabolize`: remove facts from the weights, keep answering from context (Fang & Sun 2026, Algorithm 1)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, DataError, TrainingError, refuse_one_text
from mnemotomy.core.files import write_text
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model, save_model
from mnemotomy.core.modules import check_window, keeping_flags, window_of
from mnemotomy.core.version import versions
from mnemotomy.data.fact import Fact, PromptFormat, check_facts, check_neighbours
from mnemotomy.data.fact_file import FILE
from mnemotomy.metabolism.loop import Material, SavedRun, train
from mnemotomy.metabolism.objective import Objective
from mnemotomy.metabolism.probe import blocks_between, resolve_layer
from mnemotomy.metabolism.rlcp import RLCP, described
from mnemotomy.metabolism.setup import Retained, freeze_outside, reference_for, start_from_engram
from mnemotomy.metabolism.streams import LONGEST, Streams
from mnemotomy.training.adapter import unwrapped, with_adapter
from mnemotomy.training.checkpoint import CHECKPOINT, check_checkpoint
from mnemotomy.training.loop import Outcome
from mnemotomy.training.processes import check_accelerate

RECORD = "metabolism.json"
"""The file that records the run, in the result's folder."""


@dataclass(frozen=True)
class Metabolized:
    """The result of `metabolize`.

    Attributes:
        model: the trained model, with any adapter merged.
        tokenizer: the given one.
        steps: one record per step: the unweighted terms, α, learning rate and gradient norm.
        stopped: why training ended early, or None.
        record: seed, versions, the full configuration, the number and a hash of the facts, and the fingerprint of the
            original model.
        format: how prompts and contexts are joined; a reader must join them the same way.
    """

    model: Any
    tokenizer: Any
    steps: list[dict[str, Any]]
    stopped: str | None
    record: dict[str, Any]
    format: PromptFormat

    @property
    def probe_accuracy(self) -> float | None:
        """Mean accuracy of the adversarial probe at l* in the last epoch; None if no probe was run."""
        last = [step for step in self.steps if step["epoch"] == self.steps[-1]["epoch"] and "probe_accuracy" in step]
        return sum(step["probe_accuracy"] for step in last) / len(last) if last else None

    def save(self, folder: str | Path, *, extra: Mapping[str, str] | None = None) -> None:
        """Write a folder that ``from_pretrained`` loads, with the record, the prompt format and ``extra`` texts."""
        texts = {
            RECORD: json.dumps(self.record | {"stopped": self.stopped}, indent=1),
            FILE: json.dumps(asdict(self.format), indent=1),
        }
        save_model(self.model, folder, tokenizer=self.tokenizer, extra=texts | dict(extra or {}))


def metabolize(
    model: nn.Module,
    tokenizer: Any,
    facts: Iterable[Fact],
    config: RLCP | None = None,
    *,
    retain: Sequence[str] = (),
    neighbours: Iterable[Fact] = (),
    format: PromptFormat | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Metabolized:
    """Train ``model`` in place until it no longer knows the facts but still answers from context.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's, with a padding token.
        facts: the forget set, each fact with prompts and with contexts that contain its answer.
        config: ``RLCP()``, the published protocol, by default; see also its named configurations.
        retain: the retain set, for ``lambda_retain`` or an engram edit; the first 256 tokens of each text are read.
        neighbours: facts about other subjects, with prompts, for an edit at the subjects; their answers play no part.
        format: how contexts, prompts and answers are joined.
        out: a folder for checkpoints and ``steps.jsonl``; an interrupted run resumes from there.
        progress: whether to show progress bars: of the reference, of an edit to start from, and of training.

    Raises:
        DataError: a fact cannot be used, or the retain set is missing.
        ModelError: the model lacks the probed layer, is not a language model, lacks some of the tokenizer's tokens,
            or has a window too short for a prompt with its context.
        ConfigurationError: settings contradict each other, or a package is missing.
        TrainingError: the first step failed, or the checkpoint in ``out`` belongs to another run.
    """
    check_accelerate()
    check_language_model(model, tokenizer)
    refuse_one_text(retain, "retain")
    config, format = config or RLCP(), format or PromptFormat()
    checked = check_facts(facts)
    kept = Retained(retain, tokenizer, min(LONGEST, window_of(model) or LONGEST))
    if config.lambda_retain > 0 and not kept.texts:
        raise DataError("lambda_retain needs a retain set: give retain=[...] (--retain FILE), or set lambda_retain=0")
    streams = Streams(
        checked, tokenizer, format=format, counterfactuals=config.counterfactuals, seed=config.training.seed
    )
    others = Streams(tuple(neighbours), tokenizer, format=format, counterfactuals=0.0, seed=0)
    if others.facts and not (config.engram and config.engram.subjects):
        raise ConfigurationError("neighbours are for an edit at the subjects; use RLCP.from_subjects()")
    check_neighbours(others.facts)
    contents = [{name: value for name, value in asdict(fact).items() if name != "where"} for fact in checked]
    record = {
        "config": described(config),
        "facts": {"count": len(checked), "content": key(contents)},  # a result is given away
        "retained": key(list(retain)),
        **({"neighbours": key([(fact.subject, fact.prompts) for fact in others.facts])} if others.facts else {}),
        "format": asdict(format),
        "model_before": fingerprint(model),
        "versions": versions(),
    }
    run = SavedRun(None if out is None else Path(out), key(record | {"facts": contents}), progress=progress)
    # check everything before changing the model
    resolve_layer(model, config.layer)
    if config.training.blocks is not None:
        blocks_between(model, *config.training.blocks)
    if run.folder is not None:
        check_checkpoint(run.folder / CHECKPOINT, run.key)
    check_window(model, streams.longest())
    with keeping_flags(model):
        outcome = _trained(model, config, streams, others, kept, run)
    if run.folder is not None:
        write_text(run.folder / RECORD, json.dumps(record, indent=1))
    return Metabolized(model.eval(), tokenizer, outcome.records, outcome.stopped, record, format)


def _trained(
    model: nn.Module, config: RLCP, streams: Streams, others: Streams, kept: Retained, run: SavedRun
) -> Outcome:
    """Train in place. An adapter is merged at the end, or removed if training fails."""
    lora, seed = config.training.lora, config.training.seed
    reference = None
    if config.engram is not None:  # the reference is the model before the edit
        reference = reference_for(model, config, streams, kept, progress=run.progress)
        names = others if others.examples else None
        start_from_engram(model, config.engram, streams, kept, names, progress=run.progress)
    with _seeded(seed):
        adapted = with_adapter(model, lora)
    try:
        if config.engram is None:
            reference = reference_for(adapted, config, streams, kept, progress=run.progress)
        if config.training.blocks is not None:
            freeze_outside(unwrapped(adapted), blocks_between(unwrapped(adapted), *config.training.blocks))
        if not any(parameter.requires_grad for parameter in adapted.parameters()):
            raise ConfigurationError("no parameter of the model is trained; call model.requires_grad_(True) first")
        with _seeded(seed):
            objective = Objective(adapted, config, len(streams.answers))
        outcome = train(objective, config, Material(streams, kept, reference), run)
        if not outcome.records:
            raise TrainingError(f"training failed at the first step: {outcome.stopped}; check the model and the facts")
    except BaseException:
        if lora is not None:
            adapted.unload()
        raise
    if lora is not None:
        adapted.merge_and_unload()
    return outcome


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
