"""Runs of commands: what they write at their end, and how long ones resume."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tiny_metabolism
from fuzz import call
from fuzz_cases import Inputs
from helpers import mlp, randn
from killing import Work, Writer, contents
from tiny_language import write_lines

import mnemotomy as mt
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.integrity import read_sealed


@functools.cache
def inputs() -> Inputs:
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    return Inputs.made(Path(kept.name))


_KEPT: list[Any] = []


def command(*arguments: str) -> Work:
    """A call of the command line; ``{model}`` and the like stand for the inputs."""

    def run() -> None:
        called = call([one.format_map(_Named()) for one in arguments], Path.cwd(), 120)
        assert called.status == 0, called

    return run


class _Named(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return inputs()(key.replace("_", "."))


def model(folder: Path) -> Any:
    """A model folder that passes its checksums, and the numbers of its record; None where there is none."""
    if not (folder / "out").exists():
        return None
    loaded = mt.load_model(folder / "out")
    mt.load_tokenizer(folder / "out") if (folder / "out" / "tokenizer.json").exists() else None
    record = json.loads((folder / "out" / "mnemotomy.json").read_text())
    assert record["model"]["fingerprint_after"] == fingerprint(loaded)
    return fingerprint(loaded), timeless(record.get("training")), timeless(record.get("tried"))


def timeless(value: Any) -> Any:
    """Without seconds."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if "second" not in key and key != "timings"}
    return [timeless(one) for one in value] if isinstance(value, list) else value


FILES = ("--forget", "{forget_jsonl}", "--retain", "{retain_jsonl}")


def of_commands() -> Iterator[Writer]:
    """Commands that write at their end, over an earlier result."""
    applying = ("apply", "{edit_yaml}", "out")
    yield Writer("a recipe's model", lambda: weaker("model"), command(*applying), model, kills=10)
    yield Writer("a recipe's edit", lambda: weaker("edit"), command(*applying, "--as", "edit"), kills=10)
    tracing = ("trace", "{moments_safetensors}", "{model}", "--csv", "t.csv", "--png", "t.png", "--json", "t.json")
    yield Writer("a table, a figure and JSON", lambda: None, command(*tracing), several=True, kills=8)
    yield Writer(
        "a benchmark imported", lambda: imported(3), lambda: imported(200), lambda folder: contents(folder / "out")
    )
    adapter = ("forget", "{model}", "out", *FILES, "--trials", "2", "--no-two-sided", "--force", "--as", "lora")
    yield Writer("an adapter", lambda: None, command(*adapter), model, kills=4)


def weaker(kind: str) -> None:
    fields = inputs().edit_recipe(strength=0.5)
    Path("weaker.json").write_text(json.dumps(fields))  # which is YAML, too
    command("apply", "weaker.json", "out", "--as", kind)()


def imported(rows: int) -> None:
    made = [{"question": f"Who is {n}?", "answer": f"Nobody {n}."} for n in range(rows)]
    for name in ("forget10", "retain90"):
        write_lines(Path(f"{name}.json"), made)
    mt.import_benchmark("tofu-forget10", ".", "out")


def of_runs() -> Iterator[Writer]:
    """Long runs, which resume: the same numbers as an uninterrupted one."""
    yield Writer("collect", lambda: None, collected, kills=20, twice=True)
    unlearning = ("unlearn", "{model}", "out", "--force", "--method", "grad-diff", *FILES, "--set", "epochs=4")
    yield Writer("unlearn", lambda: None, command(*unlearning), model, kills=8, twice=True)
    yield Writer("metabolize", lambda: None, metabolized, metabolism, kills=12, twice=True)
    evaluating = ("evaluate", "{model}", *FILES, "--max-new-tokens", "2", "--out", "out")
    yield Writer("evaluate", lambda: None, command(*evaluating), several=True, kills=8, twice=True)
    auditing = ("audit", "{model}", "{plain}", "out", *FILES, "--only", "greedy")
    yield Writer("audit", lambda: None, command(*auditing), report, several=True, kills=12, twice=True)
    forgetting = ("forget", "{model}", "out", *FILES, "--trials", "3", "--no-two-sided", "--force")
    yield Writer("forget", lambda: None, command(*forgetting), forgotten, several=True, kills=8, twice=True)


def collected() -> None:
    made = mlp(40, 50, 40)
    data = {name: [randn(20, 40, seed=10 * place + n) for n in range(6)] for place, name in enumerate("ab")}
    options = mt.CollectOptions(progress=False, checkpoint=".c", checkpoint_seconds=0.0)
    mt.collect(made, data, options=options).save("m")


def metabolized() -> None:
    found = tiny_metabolism.run(tiny_metabolism.tokenizer_of_words(), tiny_metabolism.config(), out=Path("run"))
    found.save("out")


def metabolism(folder: Path) -> Any:
    if not (folder / "out").exists():
        return None
    steps = (folder / "run" / "steps.jsonl").read_text().splitlines()
    return fingerprint(mt.load_model(folder / "out")), [timeless(json.loads(step)) for step in steps]


def report(folder: Path) -> dict[str, Any]:
    """The files of an audit by name, without seconds; the pages by whether they are whole."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "out").rglob("*")) if (folder / "out").exists() else ():
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not path.is_file() or hidden:
            continue
        if path.parent.name == "readings":
            found[path.name] = timeless(read_sealed(path))
        elif path.suffix == ".json":
            found[path.name] = timeless(json.loads(path.read_text()))
        else:
            found[path.name] = path.read_text().rstrip().splitlines()[-1]
    return found


def forgotten(folder: Path) -> dict[str, Any]:
    """The result, and the retain set beside it."""
    retain = folder / "out.retain.jsonl"
    there = {"retain": retain.read_text()} if retain.exists() else {}
    found = model(folder)
    return there if found is None else there | {"model": found}
