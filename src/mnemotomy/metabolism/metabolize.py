"""The call: facts out of the weights, answers from context (Fang & Sun 2026, Algorithm 1)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, DataError, TrainingError
from mnemotomy.core.files import write_text
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model, save_model
from mnemotomy.core.modules import check_window, keeping_flags, window_of
from mnemotomy.core.version import versions
from mnemotomy.data.fact import Fact, PromptFormat, check_facts
from mnemotomy.metabolism.loop import Material, Run, train
from mnemotomy.metabolism.objective import Objective
from mnemotomy.metabolism.probe import resolve_layer
from mnemotomy.metabolism.rlcp import RLCP, described
from mnemotomy.metabolism.setup import Retained, reference_for, start_from_engram
from mnemotomy.metabolism.streams import LONGEST, Streams
from mnemotomy.training.adapter import with_adapter
from mnemotomy.training.checkpoint import CHECKPOINT, check_checkpoint
from mnemotomy.training.loop import Outcome
from mnemotomy.training.processes import check_accelerate

RECORD = "metabolism.json"
"""What was run, in the folder of the result."""


@dataclass(frozen=True)
class Metabolized:
    """What `metabolize` returns.

    Attributes:
        model: the trained model, any adapter merged into it.
        tokenizer: as it was given.
        steps: the record of every step: its terms, unweighted, and α, rate and gradient norm.
        stopped: why training ended early, or None.
        record: seed, versions, the exact configuration, and the fingerprint of the model before.
        format: how prompts and contexts are joined; a reader has to join them the same way.
    """

    model: Any
    tokenizer: Any
    steps: list[dict[str, Any]]
    stopped: str | None
    record: dict[str, Any]
    format: PromptFormat

    @property
    def probe_accuracy(self) -> float | None:
        """Mean accuracy of the adversarial probe at l* in the last epoch; None where no probe was run."""
        last = [step for step in self.steps if step["epoch"] == self.steps[-1]["epoch"] and "probe_accuracy" in step]
        return sum(step["probe_accuracy"] for step in last) / len(last) if last else None

    def save(self, folder: str | Path, *, extra: Mapping[str, str] | None = None) -> None:
        """A model folder that ``from_pretrained`` loads, with the record, the prompt format and other texts inside."""
        texts = {
            RECORD: json.dumps(self.record | {"stopped": self.stopped}, indent=1),
            "prompt_format.json": json.dumps(asdict(self.format), indent=1),
        }
        save_model(self.model, folder, tokenizer=self.tokenizer, extra=texts | dict(extra or {}))


def metabolize(
    model: nn.Module,
    tokenizer: Any,
    facts: Iterable[Fact],
    config: RLCP | None = None,
    *,
    retain: Sequence[str] = (),
    format: PromptFormat | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Metabolized:
    """Train ``model`` until it no longer knows the facts and answers from context; it is changed in place.

    Args:
        model: a causal language model of transformers.
        tokenizer: its own, with a padding token.
        facts: what is to be forgotten, each with prompts and contexts that hold its answer.
        config: ``RLCP()``, the published protocol, by default; see also its named configurations.
        retain: texts that are to stay, for configurations with ``lambda_retain`` or an engram edit; the first 256
            tokens of each are read.
        format: how contexts, prompts and answers are joined.
        out: a folder for checkpoints and ``steps.jsonl``; a run that was interrupted there goes on.
        progress: whether to show a bar.

    Raises:
        DataError: a fact cannot be used, or texts that are to stay are missing.
        ModelError: the model lacks the layer to probe, predicts no tokens, lacks some of the tokenizer's, or reads
            fewer than a prompt with its context has.
        ConfigurationError: a setting contradicts another, or needs a package that is missing.
        TrainingError: the first step already failed, or the checkpoint in ``out`` is of another run.
    """
    check_accelerate()
    check_language_model(model, tokenizer)
    config, format = config or RLCP(), format or PromptFormat()
    checked = check_facts(facts)
    kept = Retained(retain, tokenizer, min(LONGEST, window_of(model) or LONGEST))
    if config.lambda_retain > 0 and not kept.texts:
        raise DataError(
            "this configuration protects texts that are to stay: give retain=[...] (--retain FILE), or set "
            "lambda_retain=0"
        )
    streams = Streams(
        checked, tokenizer, format=format, counterfactuals=config.counterfactuals, seed=config.training.seed
    )
    record = {
        "config": described(config),
        "facts": [asdict(fact) for fact in checked],
        "retained": key(list(retain)),
        "format": asdict(format),
        "model_before": fingerprint(model),
        "versions": versions(),
    }
    run = Run(None if out is None else Path(out), _key(record), progress=progress)
    # whatever can be refused is refused before the model is touched
    resolve_layer(model, config.layer)
    if run.folder is not None:
        check_checkpoint(run.folder / CHECKPOINT, run.key)
    check_window(model, streams.longest())
    with keeping_flags(model):
        outcome = _trained(model, config, streams, kept, run)
    if run.folder is not None:
        write_text(run.folder / RECORD, json.dumps(record, indent=1))
    return Metabolized(model.eval(), tokenizer, outcome.records, outcome.stopped, record, format)


def _trained(model: nn.Module, config: RLCP, streams: Streams, kept: Retained, run: Run) -> Outcome:
    """Train in place; an adapter is merged at the end, and taken off again where there is none."""
    lora, seed = config.training.lora, config.training.seed
    reference = None
    if config.engram is not None:  # the reference is the model before the edit
        reference = reference_for(model, config, streams, kept)
        start_from_engram(model, config.engram, streams, kept)
    with _seeded(seed):
        adapted = with_adapter(model, lora)
    try:
        if config.engram is None:
            reference = reference_for(adapted, config, streams, kept)
        if not any(parameter.requires_grad for parameter in adapted.parameters()):
            raise ConfigurationError("no parameter of the model is trained: call model.requires_grad_(True) first")
        with _seeded(seed):
            objective = Objective(adapted, config, len(streams.answers))
        outcome = train(objective, config, Material(streams, kept, reference), run)
        if not outcome.records:
            raise TrainingError(f"no step was taken: {outcome.stopped}; look at the model and the facts")
    except BaseException:
        if lora is not None:
            adapted.unload()
        raise
    if lora is not None:
        adapted.merge_and_unload()
    return outcome


def _key(record: dict[str, Any]) -> str:
    """Of the run, wherever its facts were read from."""
    facts = [{name: value for name, value in fact.items() if name != "where"} for fact in record["facts"]]
    return key(record | {"facts": facts})


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
