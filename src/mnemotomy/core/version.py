"""The package's version, and those of what its results depend on."""

from __future__ import annotations

import platform

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """What to write beside a result so that it can be made again."""
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
