"""Load and save models, tell them apart by fingerprint, and find weights that two layers share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.files import check_replaceable, replacing_folder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def locate_model(name: str, folder: Path = Path()) -> str:
    """``name`` as a folder seen from ``folder`` if there is one, else as it is: a hub id.

    Raises:
        ModelError: ``name`` can only be a folder, and there is none.
    """
    local = seen_from(folder, name)
    if local.is_dir():
        return str(local)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or local.exists():
        raise ModelError(f"there is no model folder {local}")
    return name


def seen_from(folder: Path, name: str) -> Path:
    """``name`` as a path that starts from ``folder``, with ``~`` as the home folder."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # nobody of that name
        return folder / name


def load_model(name: str | Path, *, dtype: str | torch.dtype = "float32", device: str = "cpu") -> nn.Module:
    """Load a transformers model with the head it was saved with.

    Args:
        name: a local folder or a hub id.
        dtype: of the weights; closed-form work wants float32.
        device: where to put it.

    Raises:
        ModelError: the folder or id holds no model that transformers can load, or there is no such device here.
    """
    import transformers

    check_device(device)
    torch_dtype = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if torch_dtype is None:
        raise ModelError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    try:
        config = transformers.AutoConfig.from_pretrained(str(name))
        architecture = (config.architectures or ["AutoModel"])[0]
        model_class = getattr(transformers, architecture, transformers.AutoModel)
        model, report = model_class.from_pretrained(str(name), dtype=torch_dtype, output_loading_info=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        why = "its weights do not fit its config.json" if "mismatched" in str(error) else _first_line(error)
        raise ModelError(f"cannot load a model from {str(name)!r}: {why}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would draw them at random
        raise ModelError(f"{str(name)!r} lacks {len(missing)} weights of {architecture}, the first {missing[0]!r}")
    return cast(nn.Module, model.to(device))


def load_tokenizer(name: str | Path) -> Any:
    """Load the tokenizer of a local folder or hub id; the end-of-text token pads where none is set."""
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    try:
        # AutoTokenizer would put the class usual for the model's type in place of a generic one, and with it another
        # way to split words than the folder's tokenizer.json says
        declared = get_tokenizer_config(str(name)).get("tokenizer_class")
        generic = declared in ("TokenizersBackend", "PreTrainedTokenizerFast")
        loader = transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer
        tokenizer = loader.from_pretrained(str(name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot load a tokenizer from {str(name)!r}: {_first_line(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {str(name)!r} has no token that could pad; set its pad_token")
    return tokenizer


def check_language_model(model: nn.Module, tokenizer: Any) -> None:
    """Refuse a model of transformers that is no causal one, or whose embedding lacks some of the tokenizer's tokens.

    Tokens that were added to a tokenizer and never to its model are let be, but for the one that pads.

    Raises:
        ModelError: it is such a model.
    """
    if not hasattr(model, "get_output_embeddings"):
        return
    named, found = type(model).__name__, cast(Any, model)
    if not found.can_generate():
        why = "has no output head, so it" if found.get_output_embeddings() is None else "fills gaps in a text, and"
        raise ModelError(f"{named} {why} predicts no next token; take a causal language model")
    if getattr(found.config, "is_encoder_decoder", False):
        raise ModelError(f"{named} reads one text and writes another; take a causal language model")
    check_tokens(model, max(tokenizer.vocab_size - 1, tokenizer.pad_token_id or 0))


def check_tokens(model: nn.Module, largest: int) -> None:
    """Refuse tokens that the model's embedding lacks; one that transformers cannot name is let be.

    Raises:
        ModelError: ``largest`` is beyond it.
    """
    try:
        known = int(cast(Any, model).get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):  # what transformers says where it cannot name the embedding
        return
    if largest >= known:
        named = type(model).__name__
        raise ModelError(f"the tokenizer gives token {largest}, and {named} knows {known}; they do not belong together")


def save_model(
    model: nn.Module, folder: str | Path, *, tokenizer: Any = None, extra: dict[str, str] | None = None
) -> None:
    """Save a transformers model, its tokenizer and ``extra`` text files (name to content), all or nothing.

    A model that the folder holds is replaced as a whole, its tokenizer too.

    Raises:
        DataError: the folder holds something else than a model, or beside one, which would be lost.
        ModelError: the model cannot be saved so.
    """
    check_replaceable(Path(folder), "config.json", also=extra or ())
    if not hasattr(model, "save_pretrained"):
        raise ModelError(f"{type(model).__name__} has no save_pretrained; save its state_dict yourself")
    with replacing_folder(folder) as temporary:
        cast(Any, model).save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        for name, content in (extra or {}).items():
            (temporary / name).write_text(content, encoding="utf-8")


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the name, shape, dtype and bytes of every entry of the state dict.

    Two models share a fingerprint exactly when their weights and buffers are the same numbers.
    """
    return fingerprint_of(digests(model))


def fingerprint_of(digests: dict[str, str]) -> str:
    """The fingerprint of a model whose state dict has these digests."""
    return hashlib.sha256(json.dumps(list(digests.items())).encode()).hexdigest()


def digests(model: nn.Module) -> dict[str, str]:
    """The digest of every entry of the state dict, hashed in parallel."""
    state = model.state_dict()
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
        return dict(zip(state, pool.map(digest, state.values()), strict=True))


def digest(value: Any) -> str:
    """SHA-256 over the shape, dtype and bytes of one tensor, or over whatever else a layer keeps in its state."""
    if not isinstance(value, Tensor):
        return hashlib.sha256(pickle.dumps(value)).hexdigest()
    data = value.detach().cpu().contiguous().reshape(-1)
    content = hashlib.sha256(f"{tuple(value.shape)} {value.dtype} ".encode())
    if data.numel():
        content.update(data.view(torch.uint8).numpy().data)
    return content.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """A hash of the words, the rules and the template of a tokenizer; two with the same give the same tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = sorted(tokenizer.get_vocab().items()) if backend is None else json.loads(backend.to_str())
    if isinstance(rules, dict):  # left behind by the last call that padded or truncated
        rules |= {"padding": None, "truncation": None}
    special = [tokenizer.eos_token_id, tokenizer.bos_token_id, getattr(tokenizer, "chat_template", None)]
    return hashlib.sha256(json.dumps([rules, special], sort_keys=True).encode()).hexdigest()


def check_same_tokenizer(name: str, tokenizer: Any, other: str, others: Any) -> None:
    """Refuse models that split texts differently: their numbers do not compare.

    Raises:
        ModelError: the tokenizers differ; it says in what.
    """
    if tokenizer_digest(tokenizer) == tokenizer_digest(others):
        return
    if tokenizer.get_vocab() != others.get_vocab():
        what = f"have other vocabularies, of {len(tokenizer)} and {len(others)} tokens"
    elif getattr(tokenizer, "chat_template", None) != getattr(others, "chat_template", None):
        what = "have other chat templates"
    else:
        what = "split texts differently"
    raise ModelError(f"the tokenizers of {name} and {other} {what}; compare models of one pair, with one tokenizer")


def tied_parameters(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Parameters that more than one module reads: each name mapped to all names of the same tensor.

    A module that is called in several places is one reader: a site sees all its calls.
    """
    names: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(f"{path}.{leaf}".lstrip("."))
    return {name: tuple(group) for group in names.values() if len(group) > 1 for name in group}


def untie(model: nn.Module, name: str) -> None:
    """Give every reader of the parameter ``name`` a tensor of its own.

    In a transformers model, one flag of the configuration ties all that is tied, and a folder saved without it holds
    no tensor twice: there the flag is lifted and every tied parameter is separated.
    """
    tied = tied_parameters(model)
    configured = [module for module in model.modules() if hasattr(module, "config")]
    groups = set(tied.values()) if configured else {tied.get(name, ())}
    for reader in (reader for group in groups for reader in group[1:]):
        owner, _, leaf = reader.rpartition(".")
        module = model.get_submodule(owner)
        parameter = cast(nn.Parameter, getattr(module, leaf))
        setattr(module, leaf, nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad))
    for module in configured:
        for config in (module.config, _text_config(module.config)):
            if getattr(config, "tie_word_embeddings", False):
                cast(Any, config).tie_word_embeddings = False
        if hasattr(module, "all_tied_weights_keys"):  # what transformers' save_pretrained consults
            cast(Any, module).all_tied_weights_keys = {}


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter (cpu for a model without any)."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, with each module's own training flag restored on leaving."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        # no inference_mode, the caller's neither: buffers that the model caches meanwhile must stay trainable
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training


@contextlib.contextmanager
def keeping_flags(model: nn.Module) -> Iterator[None]:
    """Restore on leaving which parameters require gradients; an adapter freezes all others."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def window_of(model: nn.Module) -> int | None:
    """The most tokens that the model reads, where it says so."""
    config = _text_config(getattr(model, "config", None))
    found: int | None = getattr(config, "max_position_embeddings", None)
    return found


@contextlib.contextmanager
def within_window(model: nn.Module) -> Iterator[None]:
    """Say of a text that has more tokens than a model has positions that it is too long.

    Raises:
        ModelError: a forward pass on a CPU was given such a text.
    """
    try:
        yield
    except IndexError as error:
        if window_of(model) is None:
            raise
        raise _too_long(model) from error


def check_window(model: nn.Module, tokens: int) -> None:
    """Refuse a text beyond the model's window, which models of rotary positions would read all the same.

    Raises:
        ModelError: it has more tokens.
    """
    window = window_of(model)
    if window is not None and tokens > window:
        raise _too_long(model)


def _too_long(model: nn.Module) -> ModelError:
    named = type(model).__name__
    return ModelError(f"a text is longer than the {window_of(model)} tokens that {named} reads; shorten it")


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """One thread inside. Small matrices gain little from more, and lose tenfold where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers and the hub, and restore what was set before."""
    from transformers.utils import logging as hf_logging

    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(logging.ERROR)
    level = hf_logging.get_verbosity()
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def check_device(name: str) -> None:
    """Refuse a device that is not here.

    Raises:
        ModelError: torch cannot use it.
    """
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter from a torch that was built without CUDA
        raise ModelError(f"cannot use the device {name!r}: {_first_line(error)}") from error


def _text_config(config: Any) -> Any:
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if not lines[0].rstrip().endswith(":") else " ".join(line.strip() for line in lines)[:300]
