"""GSM8K by lm-eval, on any saved model folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.models import quiet_transformers
from mnemotomy.core.yaml import read_yaml


def run_gsm8k(
    folder: str | Path, data: str | Path | None = None, *, limit: int | None = None, shots: int = 5
) -> dict[str, Any]:
    """The harness' own ``gsm8k`` task: exact match, strict and flexible, with standard errors.

    Args:
        folder: of the model, or a hub id.
        data: a folder with ``train.jsonl`` and ``test.jsonl``; by default the harness gets them from the hub.
        limit: use only this many of the first problems.
        shots: worked examples in the prompt.

    Raises:
        ConfigurationError: lm-eval is not installed.
        DataError: the data folder lacks a file.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigurationError("GSM8K needs lm-eval; get it with: pip install lm-eval")
    import lm_eval
    from lm_eval.tasks import TaskManager

    tasks: list[str | dict[str, Any]] = ["gsm8k"]
    if data is not None:
        files = {split: str(Path(data) / f"{split}.jsonl") for split in ("train", "test")}
        missing = [path for path in files.values() if not Path(path).is_file()]
        if missing:
            raise DataError(f"there is no {missing[0]}; give the folder that holds train.jsonl and test.jsonl")
        own = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
        task: dict[str, Any] = read_yaml(own.read_text(encoding="utf-8"))
        task |= {"task": "gsm8k_local", "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
        del task["dataset_name"], task["tag"]
        tasks = [task]
    with quiet_transformers():
        found = lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(folder), "dtype": "float32"},
            tasks=tasks,
            num_fewshot=shots,
            limit=limit,
            device="cpu",
            log_samples=False,
            task_manager=TaskManager(),
        )
    (scores,) = found["results"].values()
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}
