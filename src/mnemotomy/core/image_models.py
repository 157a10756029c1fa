"""Image classifiers: which models are, their processors and the names of their classes."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.models import load_config


def reads_images(processor: Any) -> bool:
    """Whether a model that comes with ``processor`` reads images: an image processor, or none."""
    return processor is None or hasattr(processor, "preprocess")


def is_image_classifier(name: str) -> bool:
    """Whether a folder or hub id is an image classifier, by the architecture in its configuration."""
    try:
        named = load_config(name).architectures or ()
    except Exception:  # loading the model itself says what is wrong
        return False
    return any("ForImageClassification" in one for one in named)


def check_image_classifier(model: nn.Module) -> None:
    """Refuse a language model that came without its tokenizer.

    Raises:
        ModelError: the model writes text.
    """
    writes = getattr(model, "can_generate", None)
    if callable(writes) and writes():
        raise ModelError(f"{type(model).__name__} writes text; give its tokenizer as the argument after the model")


def load_image_processor(name: str) -> Any:
    """The image processor of a folder or hub id, in the variant that needs Pillow alone.

    Raises:
        ModelError: there is none, or it needs torchvision.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)
    except Exception as error:  # of transformers, Pillow, the hub: whatever a wrong file leads to
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"cannot load an image processor from {name!r}: {why}; save one there with processor.save_pretrained"
        ) from error


def class_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a transformers classifier's classes, by number; none for another module."""
    labels = getattr(getattr(model, "config", None), "id2label", None) or {}
    return tuple(str(labels[number]) for number in sorted(cast(dict[int, str], labels)))
