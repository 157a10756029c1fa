"""What ``mnemotomy evaluate`` refuses, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import call, evaluate
from tiny_language import save_llama, write_lines
from tiny_tofu import CHAT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--forget", "forget07"], "has no split 'forget07_perturbed'; it has"),
        (["--forget", "holdout10"], "not a forget split"),
        (["--forget", "forget10", "--retain", "x.jsonl"], "leave out --retain and --holdout"),
    ],
)
def test_bad_options_are_one_line(pair: Path, changes: list[str], message: str):
    result = evaluate(pair / "full", "--data", pair / "tofu", *changes)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_what_stands_around_questions_is_never_chosen_in_silence(pair: Path, tmp_path: Path):
    bare, data = str(save_llama(tmp_path / "bare", template=None)), str(pair / "tofu")
    options = ["--data", data, "--forget", "forget10", "--max-new-tokens", "0"]
    result = evaluate(bare, *options)
    assert result.exit_code == 2
    assert "has no chat template; give --tags to ask as 'Question: … Answer: …'" in result.stderr
    result = evaluate(bare, *options, "--tags")
    assert result.exit_code == 0, result.output
    result = evaluate(str(pair / "full"), *options, "--tags")
    assert result.exit_code == 2
    assert "--tags is for tokenizers without a chat template" in result.stderr
    text = write_lines(tmp_path / "text.jsonl", [{"text": "Rome"}])
    asked = write_lines(tmp_path / "asked.jsonl", [{"question": "Rome ?", "answer": "Italy"}])
    method = ["--method", "engram-uniform", "--retain", str(text), str(tmp_path / "unlearned")]
    result = call("unlearn", bare, "--forget", str(asked), *method)
    assert result.exit_code == 2
    assert "give --tags" in result.stderr
    for forget, tags in ((text, []), (asked, ["--tags"])):
        result = call("unlearn", bare, "--forget", str(forget), *method, *tags, "--force")
        assert result.exit_code == 0, result.output


def test_bad_files_are_one_line(pair: Path, tmp_path: Path):
    good = write_lines(tmp_path / "good.jsonl", [{"question": "Rome ?", "answer": "Italy"}])
    blank = write_lines(tmp_path / "blank.jsonl", [{"question": "Rome ?", "answer": "  "}])
    bare = save_llama(tmp_path / "bare", template=None, max_position_embeddings=256)
    other = save_llama(tmp_path / "other", template=CHAT.replace("<eos>", "<|im_end|>"), max_position_embeddings=256)
    for arguments, message in (
        ([pair / "full", "--forget", good], "give --retain FILE"),
        ([pair / "full", "--forget", "forget10"], "forget10 does not exist"),
        ([pair / "full", "--forget", blank, "--retain", good], "'answer' is empty"),
        ([pair / "full", "--forget", tmp_path / "none.jsonl", "--retain", good], "does not exist"),
        ([bare, "--forget", good, "--retain", good, "--system", "Be brief."], "has no chat template"),
        ([pair / "full", "--forget", good, "--retain", good, "--gold", other], "have different chat templates"),
        ([pair / "full", "--forget", good, "--retain", good, "--gold", tmp_path / "gone"], "gone"),
    ):
        result = evaluate(*arguments)
        assert result.exit_code == 2, (message, result.output)
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
