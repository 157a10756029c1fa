"""Peak memory beyond the loaded model, each contender in its own process (Linux)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from mnemotomy.core.errors import MnemotomyError
from mnemotomy_bench.lab.resources import RESET, resident
from mnemotomy_bench.speed.case import Case, Pretrained

# glibc keeps freed memory on its heap, hundreds of MiB of it in some runs and none in others; with these, what is freed
# goes back at once, and the resident set is what a contender uses
_RETURNED_AT_ONCE = {
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
    "MALLOC_ARENA_MAX": "1",
}


def peak_extra_bytes(case: Case | Pretrained, contender: str) -> int:
    """The rise of the resident set after the model and data were loaded and one batch was forwarded."""
    command = [sys.executable, "-m", "mnemotomy_bench.speed.memory", json.dumps(asdict(case)), contender]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **_RETURNED_AT_ONCE})
    if done.returncode != 0:
        raise MnemotomyError(f"measuring the memory of {contender} failed: {done.stderr.strip().splitlines()[-1]}")
    return int(done.stdout.strip().splitlines()[-1])


def _main() -> None:
    import torch

    from mnemotomy_bench.speed.contenders import CONTENDERS

    values = json.loads(sys.argv[1])
    values["batch"] = tuple(values["batch"])
    case = Pretrained(**values) if "path" in values else Case(**values)
    model, data = case.model(), case.data()
    with torch.no_grad():
        model(**data["rest"][0], use_cache=False)
    RESET.write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    CONTENDERS[sys.argv[2]](case, model, data)
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    _main()
