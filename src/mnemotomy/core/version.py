"""The versions of the package and of what its results depend on."""

from __future__ import annotations

__version__ = "0.2.0"


def versions() -> dict[str, str]:
    """What to record with a result so that it can be reproduced."""
    import platform

    import safetensors
    import torch
    import transformers

    return {
        "mnemotomy": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": str(safetensors.__version__),
        "python": platform.python_version(),
    }
