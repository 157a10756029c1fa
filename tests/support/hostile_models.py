"""Model folders and adapters that would run code, load from elsewhere, or grow without end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz_cases import Inputs
from hostile import Hostile, Prepare
from hostile_files import header


def model_code(i: Inputs) -> Iterator[Hostile]:
    """Model folders that would run code, load from elsewhere, or grow without end; ``y`` is typed."""

    def changed(file: str, more: dict[str, Any], *also: tuple[str, str]) -> Prepare:
        def prepare(folder: Path) -> None:
            shutil.copytree(i("model"), folder / "m")
            path = folder / "m" / file
            found = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(found | more))
            for name, text in also:
                own = folder / "m" / name
                own.parent.mkdir(exist_ok=True)
                own.write_text(text.format(ran=str(folder.parent / "ran")))

        return prepare

    runs = "from pathlib import Path\nPath({ran!r}).touch()\n"
    own = ("own.py", runs)
    asked, config = ["collect", "m", *i.collecting()[2:], "-o", "out"], "config.json"
    for name, file, more, also, refused in (
        (
            "auto_map of the configuration",
            config,
            {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}},
            [own],
            "--trust-remote-code",
        ),
        (
            "auto_map of a repository",
            config,
            {"model_type": "own", "auto_map": {"AutoConfig": "someone/else--own.C"}},
            [own],
            "--trust-remote-code",
        ),
        (
            "auto_map of the tokenizer",
            "tokenizer_config.json",
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.T", "own.T"]}},
            [own],
            "--trust-remote-code",
        ),
        ("a type of its own", config, {"model_type": "own"}, [own, ("configuration_own.py", runs)], "m"),
        (
            "code for generation",
            "generation_config.json",
            {"custom_generate": "own"},
            [("custom_generate/generate.py", runs), own],
            None,
        ),
        ("a million layers", config, {"num_hidden_layers": 10**6}, [], "num_hidden_layers"),
        ("a vocabulary of 10^12", config, {"vocab_size": 10**12}, [], "m"),
        ("a width of 10^9", config, {"hidden_size": 10**9}, [], "m"),
        ("a quantiser that is not there", config, {"quantization_config": {"quant_method": "own.py"}}, [own], None),
        ("kernels from a repository", config, {"attn_implementation": "someone/else"}, [], "m"),
        (
            "weights of another folder",
            "model.safetensors.index.json",
            {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../../outside/mine"}},
            [],
            None,
        ),
        ("an architecture that is a path", config, {"architectures": ["../own.M"]}, [own], None),
        ("an architecture that is a function", config, {"architectures": ["pipeline"]}, [own], None),
    ):
        yield Hostile("model folders", name, asked, changed(file, more, *also), refused, typed="y\n" * 9)

    def adapter(**more: Any) -> Prepare:
        def prepare(folder: Path) -> None:
            (folder / "m").mkdir()
            fields = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "base_model_name_or_path": i("model")}
            (folder / "m" / "adapter_config.json").write_text(json.dumps(fields | more))
            (folder / "m" / "adapter_model.safetensors").write_bytes(header({}))
            (folder / "own.py").write_text(runs.format(ran=str(folder.parent / "ran")))

        return prepare

    slow = "(a|a?)+" * 9 + "$"
    for name, more in (
        ("a library to import", {"auto_mapping": {"base_model_class": "M", "parent_library": "own"}}),
        ("targets that backtrack", {"target_modules": "(.*)*(.*)*(.*)*!"}),
        ("ranks that backtrack", {"rank_pattern": {"((.|..)*)*!": 3}}),
        ("layers that backtrack", {"layers_to_transform": [0], "layers_pattern": slow}),
        ("a rank of 10^12", {"r": 10**12}),
        ("itself as its base", {"base_model_name_or_path": "m"}),
        ("a store as its base", {"base_model_name_or_path": i("facts.db")}),
    ):
        yield Hostile(
            "model folders",
            f"adapter: {name}",
            ["collect", "m", *i.collecting()[2:], "-o", "out"],
            adapter(**more),
            "m",
        )
