"""How models and tokenizers are loaded, checked and saved."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.core.adapters import is_adapter, merged
from mnemotomy.core.errors import ModelError
from mnemotomy.core.files import check_input, check_replaceable, replacing_folder
from mnemotomy.core.gguf import check_gguf, gguf_config, gguf_tokenizer, is_gguf
from mnemotomy.core.integrity import CHECKSUMS, check_folder, checked_folder, write_checksums
from mnemotomy.core.loading import check_depth, load_whole
from mnemotomy.core.sources import base_of

_TRUSTED = ContextVar("trusted", default=False)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@contextlib.contextmanager
def trusting_code(wanted: bool = True) -> Iterator[None]:
    """Let every model that is loaded inside run the Python code of its folder, where ``wanted``; nested, either does.

    Such code can do anything that you can. By default it is never run.
    """
    before = _TRUSTED.set(wanted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def load_model(
    name: str | Path,
    *,
    dtype: str | torch.dtype = "float32",
    device: str = "cpu",
    verify: bool = True,
    trust_remote_code: bool = False,
) -> nn.Module:
    """Load a transformers model with the head it was saved with.

    Args:
        name: a local folder, a ``.gguf`` file, an adapter's folder (it is merged into its base), or a hub id.
        dtype: of the weights; closed-form work wants float32.
        device: where to put it.
        verify: check the files of a folder against the checksums of ``save_model``.
        trust_remote_code: run the Python code that comes with the model, which can do anything that you can.

    Raises:
        ModelError: transformers cannot load a model from there, or the device does not exist.
        ArtifactError: a file has changed since it was saved.
    """
    check_device(device)
    torch_dtype = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if torch_dtype is None:
        raise ModelError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    with checked_folder(name, lambda file: not _is_of_tokenizer(file)) if verify else nullcontext(True) as sealed:
        if not sealed and (Path(name) / "mnemotomy.json").is_file():
            warnings.warn(
                f"{name} was written by an older version, or has lost its {CHECKSUMS}; damage would go unnoticed",
                stacklevel=2,
            )
        _check_files(name)
        if is_adapter(name):
            base = base_of(name)
            model = load_model(
                base, dtype=torch_dtype, device=device, verify=verify, trust_remote_code=trust_remote_code
            )
            warnings.warn(f"{name} is an adapter; it was merged into its base {base}", stacklevel=2)
            return merged(model, name)
        return _loaded(str(name), torch_dtype, trust_remote_code or _TRUSTED.get()).to(device)


def _loaded(name: str, dtype: torch.dtype, trusted: bool) -> nn.Module:
    if is_gguf(name):
        check_gguf(name)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise ModelError(f"cannot load a model from {name!r}: it has no config.json, so it is not a model folder")
    try:
        config = load_config(name, trusted)
        check_depth(config.to_dict())
        model, fault = load_whole(config, name, dtype, trusted)
    except Exception as error:  # transformers raises whatever a wrong value in a configuration leads to
        why = "its weights do not fit its config.json" if "mismatched" in str(error) else _why(error, name)
        raise ModelError(f"cannot load a model from {name!r}: {why}") from error
    if fault is not None:
        raise ModelError(f"{name!r} {fault}")
    return model


def load_config(name: str | Path, trusted: bool = False) -> Any:
    """The configuration of a model, as transformers reads it; an adapter's is its base's."""
    import transformers

    if is_adapter(name):
        return load_config(base_of(name), trusted)
    if is_gguf(name):
        check_gguf(name)
        return gguf_config(name)
    return transformers.AutoConfig.from_pretrained(str(name), trust_remote_code=trusted or _TRUSTED.get())


def _check_files(name: str | Path) -> None:
    for path in Path(name).iterdir() if Path(name).is_dir() else ():
        check_input(path)


def _is_of_tokenizer(file: str) -> bool:
    return file not in ("config.json", "generation_config.json") and not file.startswith(
        ("model", "pytorch_model", "adapter_")
    )


def load_tokenizer(name: str | Path, *, verify: bool = True, trust_remote_code: bool = False) -> Any:
    """Load a tokenizer; if it has no padding token, its end-of-text token pads.

    Args:
        name: a local folder, a ``.gguf`` file, or a hub id; of an adapter's folder without one, its base's is taken.
        verify: check its files against the checksums of ``save_model``.
        trust_remote_code: run the Python code that comes with it, which can do anything that you can.

    Raises:
        ModelError: there is no tokenizer, or it has no token to pad with.
        ArtifactError: a file has changed since it was saved.
    """
    if verify:
        check_folder(name, _is_of_tokenizer)
    _check_files(name)
    if is_gguf(name):
        check_gguf(name)
    elif Path(name).is_dir() and not any(any(Path(name).glob(one)) for one in ("*token*", "vocab*", "*.model")):
        if is_adapter(name):
            return load_tokenizer(base_of(name), verify=verify, trust_remote_code=trust_remote_code)
        raise ModelError(
            f"cannot load a tokenizer from {str(name)!r}: it has no tokenizer files; save one there with "
            "tokenizer.save_pretrained"
        )
    try:
        tokenizer = _read_tokenizer(str(name), trust_remote_code or _TRUSTED.get())
        if not isinstance(tokenizer.model_max_length, int | float):
            raise ValueError("model_max_length is not a number")
    except Exception as error:  # as above
        raise ModelError(f"cannot load a tokenizer from {str(name)!r}: {_why(error, name)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ModelError(f"the tokenizer of {str(name)!r} has no token to pad with; set its pad_token")
    return tokenizer


def _read_tokenizer(name: str, trusted: bool) -> Any:
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if is_gguf(name):
        return gguf_tokenizer(name)
    # AutoTokenizer would replace a generic class by the usual one of the model's type, which splits words
    # otherwise than the folder's tokenizer.json says
    declared = get_tokenizer_config(name).get("tokenizer_class")
    generic = declared in ("TokenizersBackend", "PreTrainedTokenizerFast")
    loader = transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer
    return loader.from_pretrained(name, trust_remote_code=trusted)


def check_language_model(model: nn.Module, tokenizer: Any) -> None:
    """Refuse a transformers model that is not causal, or whose embedding lacks some of the tokenizer's tokens.

    Tokens that were added to the tokenizer but not to the model are allowed, except for the padding token.

    Raises:
        ModelError: the model is refused.
    """
    if not hasattr(model, "get_output_embeddings"):
        return
    named, found = type(model).__name__, cast(Any, model)
    if not found.can_generate():
        why = "has no output head, so it" if found.get_output_embeddings() is None else "fills gaps in a text and"
        raise ModelError(f"{named} {why} does not predict the next token; take a causal language model")
    if getattr(found.config, "is_encoder_decoder", False):
        raise ModelError(f"{named} reads one text and writes another; take a causal language model")
    check_tokens(model, max(tokenizer.vocab_size - 1, tokenizer.pad_token_id or 0))


def check_tokens(model: nn.Module, largest: int) -> None:
    """Refuse tokens that the model's embedding lacks; if transformers cannot name the embedding, allow all.

    Raises:
        ModelError: ``largest`` is beyond the embedding.
    """
    try:
        known = int(cast(Any, model).get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):  # transformers cannot name the embedding
        return
    if largest >= known:
        named = type(model).__name__
        raise ModelError(f"the tokenizer gives token {largest}, but {named} knows {known}; they do not belong together")


def save_model(
    model: nn.Module, folder: str | Path, *, tokenizer: Any = None, extra: dict[str, str] | None = None
) -> None:
    """Save a transformers model, its tokenizer and ``extra`` text files (name to content), all or nothing.

    A model that is already in the folder is replaced as a whole, with its tokenizer.

    Raises:
        DataError: the folder contains other files, which would be lost.
        ModelError: the model has no ``save_pretrained``.
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
        write_checksums(temporary)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers and the hub inside."""
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
    """Refuse a device that torch cannot use.

    Raises:
        ModelError: with torch's reason.
    """
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without CUDA
        raise ModelError(f"cannot use the device {name!r}: {_first_line(error)}") from error


def _why(error: Exception, name: str | Path) -> str:
    if "weights_only" in str(error):  # torch's advice is to run what is in the file
        return "its weights contain more than tensors, which could be code; take a model in safetensors"
    if "trust_remote_code" in str(error):
        return "it needs the Python code that comes with it; read that code, and give --trust-remote-code to run it"
    return _first_line(error) if Path(name).exists() else f"no folder has that name. {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if not lines[0].rstrip().endswith(":") else " ".join(line.strip() for line in lines)[:300]
