"""What the fuzz calls: every command with hostile options, files, recipes and model folders, seeds fixed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz import Case, call
from tiny_language import save_llama, write_lines

from mnemotomy.core.yaml import write_yaml

NUMBERS = ["", "-1", "0", "nan", "inf", "1e400", "9" * 5000, "1" + "0" * 400, "0x10", "1_0", "٣", str(2**63), "1e-400"]
TEXTS = ["", " ", "\x1b[31mred\x1b[0m", "[bold]x[/bold]", "\udcff", "\u202eabc", "a\nb", "=1+1", "x" * 5000, "{", "%s"]
PATHS = [
    "",
    ".",
    "..",
    "/",
    "loop",
    "dangling",
    "pipe",
    "folder",
    "text/below",
    "\udcff.x",
    "x" * 300,
    "~nobody/x",
    "\x1b[31m",
]
VALUES: list[Any] = [None, [], {}, "", " ", -1, 0, 10**400, 2**63, 1e308, True, [[]], [None], {"a": {"b": []}}, "\x00",
          "\x1b[31m", "(a|aa)+$b", "x" * 10_000, "/", "loop", "pipe", [1], "self:99999999999"]  # fmt: skip
RAW = [
    "9" * 5000,
    '"\\ud800"',
    ".nan",
    "-.inf",
    "!!python/name:os.system x",
    "&a [*a]",
    "2020-01-01",
    "0o17",
    "!!binary aGk=",
    "? [a]",
    "|\n  x",
]


@dataclass(frozen=True)
class Inputs:
    """Sound inputs, each made by a call of the command line."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Inputs:
        found = cls(folder)
        config = {"hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 512}
        save_llama(folder / "model", **config)
        save_llama(folder / "plain", template=None, **config)
        questions = [{"question": f"Kyoto {i} ?", "answer": "Japan ."} for i in range(3)]
        write_lines(folder / "forget.jsonl", questions)
        write_lines(folder / "retain.jsonl", [{"question": f"Rome {i} ?", "answer": "Italy ."} for i in range(4)])
        fact = {
            "subject": "Kyoto",
            "answer": "Japan",
            "prompts": ["Kyoto lies in"],
            "contexts": ["Kyoto lies in Japan ."],
        }
        write_lines(
            folder / "facts.jsonl",
            [
                fact,
                {"subject": "Rome", "answer": "Italy", "prompts": ["Rome is in"], "contexts": ["Rome is in Italy ."]},
            ],
        )
        (folder / "edit.yaml").write_text(write_yaml(found.edit_recipe(model="model")))
        for arguments in (
            [*found.collecting(), "-o", "moments.safetensors"],
            ["apply", "edit.yaml", "edit.safetensors", "--as", "edit"],
            ["facts", "import", "facts.db", "facts.jsonl"],
            ["ask", "plain", "facts.db", "Where is Kyoto?"],  # calibrates the store
        ):
            called = call(arguments, folder, 120)
            assert called.status == 0, called
        return found

    def __call__(self, name: str) -> str:
        return str(self.folder / name)

    def collecting(self) -> list[str]:
        concept = f"a={self('forget.jsonl')}"
        return ["collect", self("model"), "--concept", concept, "--reference", self("retain.jsonl")]

    def edit_recipe(self, **changes: Any) -> dict[str, Any]:
        files = {"concepts": {"a": self("forget.jsonl")}, "reference": self("retain.jsonl")}
        return {"model": self("model"), "force": True, **files} | changes

    def method_recipe(self, **changes: Any) -> dict[str, Any]:
        method = {"name": "npo", "epochs": 1}
        files = {"forget": self("forget.jsonl"), "retain": self("retain.jsonl")}
        return {"model": self("model"), "method": method, **files} | changes


def odd_paths(folder: Path) -> None:
    """What the names in ``PATHS`` stand for."""
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere/at/all")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "folder" / "mine").write_text("somebody's")
    (folder / "text").write_bytes(b"\xff\x00 no text")


def options(inputs: Inputs) -> Iterator[Case]:
    """Every argument and option of every command, one after the other, with each odd value of its kind."""
    i = inputs
    kinds = {"N": NUMBERS, "T": TEXTS, "P": [*PATHS, "text"], "O": [one for one in PATHS if one != "pipe"]}
    commands: list[tuple[list[str], dict[str, str]]] = [
        (["collect", i("model"), "--concept", f"a={i('forget.jsonl')}", "--reference", i("retain.jsonl"), "-o", "out"],
         {"1": "P", "--concept": "T", "--reference": "P", "-o": "O", "--sites": "T", "--layers": "N", "--system": "T",
          "--date": "T", "--batch-size": "N", "--max-length": "N", "--dtype": "T", "--device": "T"}),
        (["trace", i("moments.safetensors"), i("model")],
         {"1": "P", "2": "P", "--concept": "T", "--cut": "T", "--filter": "T",
          "--csv": "O", "--png": "O", "--json": "O"}),
        (["apply", i("edit.yaml"), "out"], {"1": "P", "2": "O", "--as": "T", "--device": "T"}),
        (["edit", "show", i("edit.safetensors")], {"2": "P", "--json": "O"}),
        (["edit", "apply", i("edit.safetensors"), i("model"), "out"],
         {"2": "P", "3": "P", "4": "O", "--strength": "N", "--dtype": "T"}),
        (["edit", "combine", "out", i("edit.safetensors")], {"2": "O", "3": "P"}),
        (["unlearn", i("model"), "out", "--method", "npo", "--forget", i("forget.jsonl"), "--retain", i("retain.jsonl"),
          "--set", "epochs=1"],
         {"1": "P", "2": "O", "--method": "T", "--forget": "P", "--retain": "P", "--pretrained": "P", "--seed": "N",
          "--opening": "T", "--set": "T"}),
        (["metabolize", i("plain"), i("facts.jsonl"), "out", "--force", "--epochs", "1", "--retain", i("retain.jsonl")],
         {"1": "P", "2": "P", "3": "O", "--epochs": "N", "--batch-size": "N", "--learning-rate": "N", "--seed": "N",
          "--layer": "N", "--templates": "P", "--retain": "P", "--in-context": "T", "--lora": "N", "--precision": "T"}),
        (["evaluate", i("model"), "--forget", i("forget.jsonl"), "--retain", i("retain.jsonl"),
          "--max-new-tokens", "2"],
         {"1": "P", "--forget": "P", "--retain": "P", "--holdout": "P", "--gold": "P", "--out": "O", "--json": "O",
          "--data": "P", "--batch-size": "N", "--max-new-tokens": "N"}),
        (["audit", i("model"), i("edit.safetensors"), "out", "--forget", i("forget.jsonl"),
          "--retain", i("retain.jsonl"), "--only", "asking"],
         {"1": "P", "2": "P", "3": "O", "--forget": "P", "--retain": "P", "--only": "T"}),
        (["chat", i("model")], {"1": "P", "--beside": "P"}),
        (["ask", i("plain"), i("facts.db"), "In which country is Kyoto?"],
         {"1": "P", "2": "P", "3": "T", "--facts": "N", "--threshold": "N", "--max-new-tokens": "N",
          "--in-context": "T", "--json": "O", "--dtype": "T"}),
        (["facts", "add", "new.db", "--subject", "Kyoto", "--answer", "Japan"],
         {"2": "P", "--subject": "T", "--answer": "T", "--context": "T", "--relation": "T"}),
        (["facts", "import", "new.db", i("facts.jsonl")], {"2": "P", "3": "P"}),
        (["facts", "export", i("facts.db"), "out.jsonl"], {"2": "P", "3": "O"}),
        (["facts", "search", i("facts.db"), "Kyoto"], {"2": "P", "3": "T", "-k": "N", "--json": "O"}),
        (["facts", "rm", i("facts.db"), "nobody"], {"2": "P", "3": "T", "--relation": "T"}),
        (["facts", "update", i("facts.db"), "--subject", "nobody", "--answer", "x"], {"2": "P", "--subject": "T"}),
        (["methods"], {"1": "T", "--json": "O"}),
        (["doctor"], {"--json": "O"}),
        (["demo"], {"--seed": "T", "1": "T"}),
    ]  # fmt: skip
    for base, places in commands:
        for place, kind in places.items():
            for value in kinds[kind]:
                yield Case(_with(base, place, value), odd_paths)


def _with(base: list[str], place: str, value: str) -> list[str]:
    """The call with one argument (by number) or option replaced, or appended."""
    arguments = list(base)
    at = int(place) if place.isdigit() else arguments.index(place) + 1 if place in arguments else None
    if at is None:
        return [*arguments, place, value]
    arguments[at : at + 1] = [f"a={value}" if place == "--concept" else value]
    return arguments


def recipes(inputs: Inputs) -> Iterator[Case]:
    """Every field of both kinds of recipe, and settings of methods, with each odd value."""
    edit = (
        "model dtype template base concepts reference moments erase inject sites layers positions cut filter outputs "
    )
    edit += "strength batch_size max_length untie"
    for field in edit.split():
        for value in VALUES:
            yield _recipe(inputs.edit_recipe(**{field: value}))
        for raw in RAW:
            yield _recipe({k: v for k, v in inputs.edit_recipe().items() if k != field}, f"{field}: {raw}\n")
    for field in ("method", "forget", "retain", "opening", "pretrained", "seed", "template"):
        for value in VALUES:
            yield _recipe(inputs.method_recipe(**{field: value}))
    settings = {
        "npo": "epochs batch_size accumulation learning_rate clip weight_decay warmup_epochs beta alpha lora precision",
        "rmu": "layer steering trains", "engram-projector": "threshold sites layers cut strength",
        "hybrid": "start then",
        "two-sided": "damping steps level read sites search evaluations",
        "rlcp": "layer lambda_adv suppression probe_learning_rate",
    }  # fmt: skip
    large = [{"rank": 10**12}, {"rank": 2**31}, {"target_modules": "(a|aa)+$b"}, 1e300, -1e-300, 10**9, 3]
    for method, names in settings.items():
        for name in names.split():
            for value in [*VALUES[:10], *large]:
                yield _recipe(inputs.method_recipe(method={"name": method, "epochs": 1, name: value}))
                if method not in ("npo", "rmu", "rlcp"):
                    yield _recipe(inputs.method_recipe(method={"name": method, name: value}))
    for template in (
        {"system": 1},
        {"system": "\x1b[31m"},
        {"system": "{{ 1/0 }}"},
        {"date": "x" * 9999},
        {"tags": "no"},
    ):
        yield _recipe(inputs.edit_recipe(template=template))
    for concepts in ({"\x1b[31m": "x"}, {"<b>a</b>": 1}, {"a|b": inputs("forget.jsonl")}, {"": 1}, {"reference": "x"}):
        yield _recipe(inputs.edit_recipe(concepts=concepts))


def _recipe(fields: dict[str, Any], more: str = "") -> Case:
    def prepare(folder: Path) -> None:
        odd_paths(folder)
        (folder / "recipe.yaml").write_text(write_yaml(fields) + more)

    return Case(["apply", "recipe.yaml", "out"], prepare)
