"""Models in one ``.gguf`` file, as llama.cpp reads them: unpacked on loading, and saved as any other model.

What was rounded to a few bits when the file was made stays rounded. Needs the package ``gguf``.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.files import check_input

_MAGIC = b"GGUF"


def is_gguf(name: str | Path) -> bool:
    """Whether the model is a ``.gguf`` file, which need not be there."""
    return str(name).endswith(".gguf")


def check_gguf(path: str | Path) -> None:
    """Refuse a file that cannot be one, before transformers fails on it.

    Raises:
        ModelError: it is missing or of another kind, or the package ``gguf`` is missing.
    """
    path = Path(path)
    check_input(path)
    if not path.is_file():
        raise ModelError(f"the model file {path} does not exist")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(f"{path} is not a GGUF file: it does not begin with {_MAGIC.decode()}; download it again")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"reading {path} needs the package gguf; install it with: pip install gguf")


def gguf_config(path: str | Path) -> Any:
    """The configuration in the file; it is read once, as a large vocabulary takes ten seconds."""
    path = Path(path).resolve()
    state = path.stat()
    return copy.deepcopy(_config(path, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=8)
def _config(path: Path, changed: int, size: int) -> Any:
    import transformers

    return transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)


def gguf_tokenizer(path: str | Path) -> Any:
    """The tokenizer in the file."""
    import transformers

    path = Path(path).resolve()
    return transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def gguf_model(kind: Any, path: str | Path, dtype: torch.dtype, config: Any) -> tuple[nn.Module, Any]:
    """The model with every weight unpacked, and transformers' report of the loading.

    Nothing is left of its packing, so that it is trained, edited and saved as any other. A head that repeats the
    embedding number by number is tied to it.
    """
    import transformers

    path = Path(path).resolve()
    unpacking = getattr(transformers, "GgufConfig", None)  # transformers that lack it always unpack
    how = {} if unpacking is None else {"quantization_config": unpacking(dequantize=True)}
    with warnings.catch_warnings(), _bars_as_told():
        # numpy shows weights that it read without a copy as not writable
        warnings.filterwarnings("ignore", ".*not writable", UserWarning)
        model, report = kind.from_pretrained(
            path.parent, gguf_file=path.name, dtype=dtype, config=config, output_loading_info=True, **how
        )
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(name, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = str(path)
    _tie(cast(Any, model))
    return model, report


@contextlib.contextmanager
def _bars_as_told() -> Iterator[None]:
    """Without the bar of unpacking where transformers was told to show none, which it forgets here."""
    from transformers.utils import logging

    with contextlib.nullcontext() if logging.is_progress_bar_enabled() else contextlib.redirect_stderr(io.StringIO()):
        yield


def _tie(model: Any) -> None:
    try:
        words, head = model.get_input_embeddings(), model.get_output_embeddings()
    except (AttributeError, NotImplementedError):  # without a head
        return
    if head is None or head.weight is words.weight or getattr(head, "bias", None) is not None:
        return
    if head.weight.shape == words.weight.shape and torch.equal(head.weight, words.weight):
        model.config.tie_word_embeddings = True
        model.tie_weights()
