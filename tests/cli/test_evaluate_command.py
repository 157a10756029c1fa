"""``mnemotomy evaluate``: OpenUnlearning's keys and files, scores between a pair, the user's own data, errors."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import save_llama, tokenizer, write_lines
from tiny_tofu import CHAT, save_pair, save_tofu
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.errors import ArtifactError, ConfigurationError, DataError, ModelError
from mnemotomy.core.fingerprints import tokenizer_digest
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.evaluation.evaluating import Fluency, evaluation_of, read_evaluation
from mnemotomy.evaluation.texts import tofu_splits
from mnemotomy.metrics.tofu.aggregates import FLUENCY, PERPLEXITY, base_perplexity, relative_fluency
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.metrics.tofu.meanings import meaning
from mnemotomy.metrics.tofu.scores import scores
from mnemotomy.observe import splits as splits_module
from mnemotomy.observe.answers import observe_answers
from mnemotomy.observe.fluency import losses_under, probability_clean
from mnemotomy.observe.generation import continue_greedily, supports_dropping_rows
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import observe_splits
from mnemotomy.text.records import TextExample

KEYS = {
    "exact_memorization",
    "extraction_strength",
    "forget_Q_A_Prob",
    "forget_Q_A_ROUGE",
    "forget_truth_ratio",
    "model_utility",
    "mia_loss",
    "mia_zlib",
    "mia_min_k",
    "mia_min_k_plus_plus",
}
QUICK = Asking(max_new_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("evaluate")
    save_tofu(made / "tofu")
    save_pair(made)
    return made


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def observed(folder: Path, name: str = "full") -> Observed:
    return Observed(load_model(folder / name), load_tokenizer(folder / name))


def test_all_keys_and_the_retain_model_scores_one(folder: Path, tmp_path: Path):
    options = ["--data", folder / "tofu", "--forget", "forget10", "--max-new-tokens", "5", "--out", tmp_path]
    result = invoke(
        folder / "retain90", "--full", folder / "full", "--gold", folder / "retain90", *options, "--json", "-"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= KEYS | {"forget_quality", "retain_Q_A_PARA_Prob", "wf_Truth_Ratio"}
    assert found["left_out"] == {}
    assert found["forget_quality"] == 1.0
    assert found["scores"]["memorization"] == pytest.approx(1.0)
    assert found["scores"]["privacy"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "TOFU_SUMMARY.json").read_text()) == {
        key: value for key, value in found.items() if isinstance(value, float)
    }
    assert found["gold"]["forget_Q_A_Prob"] == found["forget_Q_A_Prob"] != found["before"]["forget_Q_A_Prob"]
    assert summary(read_evaluation(tmp_path)).keys() >= KEYS
    full = invoke(folder / "full", "--gold", folder / "retain90", *options[:-1], tmp_path, "--json", "-")
    assert json.loads(full.stdout)["scores"]["memorization"] < 1e-9


def open_unlearnings(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The same as OpenUnlearning's evaluator writes it: more metrics, a row without a score, no words."""
    theirs = json.loads(json.dumps(evaluation))
    del theirs["forget_Q_A_ROUGE"]["words"]
    theirs["exact_memorization"]["value_by_index"]["0"] = {"score": None}
    theirs["mia_gradnorm"] = theirs["mia_loss"]
    theirs["privleak"] = {"agg_value": -12.5}
    theirs["forget_Q_A_PARA_ROUGE"] = theirs["forget_Q_A_ROUGE"]
    return theirs


def test_evaluations_of_open_unlearning_stand_for_the_models(folder: Path, tmp_path: Path):
    options = ["--data", folder / "tofu", "--forget", "forget10", "--max-new-tokens", "5", "--json", "-"]
    for name in ("full", "retain90"):
        result = invoke(folder / name, *options, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        written = tmp_path / name / "TOFU_EVAL.json"
        written.write_text(json.dumps(open_unlearnings(json.loads(written.read_text())), indent=4))
    models = invoke(folder / "base", "--before", folder / "full", "--gold", folder / "retain90", *options)
    files = invoke(
        folder / "base", "--before", tmp_path / "full/TOFU_EVAL.json", "--gold", tmp_path / "retain90/TOFU_EVAL.json",
        *options,
    )  # fmt: skip
    assert files.exit_code == 0, files.output
    expected, found = json.loads(models.stdout), json.loads(files.stdout)
    assert found["scores"] == pytest.approx(expected["scores"])
    assert found["forget_quality"] == pytest.approx(expected["forget_quality"])
    assert found["before"]["privleak"] == -12.5
    assert {name: found["gold"][name] for name in expected["gold"]} == pytest.approx(expected["gold"])


def test_an_evaluation_of_another_split_is_refused_before_anything_is_observed(folder: Path, tmp_path: Path):
    other = tmp_path / "TOFU_EVAL.json"
    other.write_text(json.dumps({"forget_truth_ratio": {"agg_value": 1.0, "value_by_index": {"0": {"score": 1.0}}}}))
    options = ["--data", folder / "tofu", "--forget", "forget10"]
    result = invoke(folder / "full", "--gold", other, *options)
    assert result.exit_code == 2
    assert "is of 1 forgotten questions, but there are 6 here" in result.stderr
    result = invoke(folder / "full", "--gold", tmp_path / "none.json", *options)
    assert result.exit_code == 2
    assert "there is no file" in result.stderr


def test_a_checkpoint_of_a_trainer_is_a_model(folder: Path, tmp_path: Path):
    """OpenUnlearning's results are checkpoints of transformers' trainer, with evaluations below."""
    checkpoint = tmp_path / "checkpoint-5"
    shutil.copytree(folder / "full", checkpoint)
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"anything": 1}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 5}')
    (checkpoint / "evals").mkdir()
    (checkpoint / "evals" / "TOFU_SUMMARY.json").write_text("{}")
    options = ["--data", folder / "tofu", "--forget", "forget10", "--max-new-tokens", "0", "--json", "-"]
    first, second = (json.loads(invoke(one, *options).stdout) for one in (checkpoint, folder / "full"))
    assert first == second


def test_before_and_after_without_a_gold_model_and_what_each_number_says(folder: Path):
    options = ["--data", folder / "tofu", "--forget", "forget10", "--max-new-tokens", "5"]
    result = invoke(folder / "retain90", "--before", folder / "full", *options)
    assert result.exit_code == 0, result.output
    head, *lines = [line for line in result.stdout.splitlines() if "metric" in line or ":" in line]
    assert [part.strip() for part in head.split("┃")[1:-1]] == ["metric", "before", "after"]
    said = dict(line.split(": ", 1) for line in lines)
    assert said.keys() >= KEYS | {"retain_Q_A_PARA_Prob", "wf_Truth_Ratio", "ra_Q_A_Prob_normalised"}
    assert all(said.values())
    found = json.loads(invoke(folder / "retain90", "--before", folder / "full", *options, "--json", "-").stdout)
    alone = json.loads(invoke(folder / "full", *options, "--json", "-").stdout)
    assert found["before"] == {name: value for name, value in alone.items() if isinstance(value, float)}
    assert "scores" not in found


def test_every_score_is_explained(folder: Path):
    options = ["--data", folder / "tofu", "--forget", "forget10", "--fluency-base", folder / "base"]
    result = invoke(folder / "retain90", "--gold", folder / "retain90", "--max-new-tokens", "5", *options)
    assert result.exit_code == 0, result.output
    said = dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)
    assert said.keys() >= {"score overall", "score tr", "score s_zlib", "score ff_perplexity", "forget_quality"}
    assert all(said.values())
    assert meaning("unheard_of") == ""


def test_the_same_weights_and_data_are_observed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    splits = tofu_splits(folder / "tofu", "forget10")
    first = evaluation_of(observed(folder), splits, QUICK, folder=tmp_path)
    again = observed(folder)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("observed again")

    monkeypatch.setattr(splits_module, "observe_questions", refuse)
    assert evaluation_of(again, splits, QUICK, folder=tmp_path) == first
    [cell] = (tmp_path / "evaluations").iterdir()
    whole = cell.read_text()
    cell.write_text(whole.replace("0.", "1.", 1))
    with pytest.raises(ArtifactError, match="damaged"):
        evaluation_of(again, splits, QUICK, folder=tmp_path)
    cell.write_text(whole)
    kept = observe_splits(again, splits, QUICK, tmp_path / "observations")
    assert kept["holdout"].generated is None
    assert kept["forget"].generated is not None
    with pytest.raises(AssertionError):
        evaluation_of(again, splits, Asking(max_new_tokens=5), folder=tmp_path)
    with torch.no_grad():
        next(again.model.parameters()).add_(1e-3)
    with pytest.raises(AssertionError):
        evaluation_of(Observed(again.model, again.tokenizer), splits, QUICK, folder=tmp_path)


def test_bfloat16_is_near_and_kept_apart(folder: Path, tmp_path: Path):
    splits, model = tofu_splits(folder / "tofu", "forget10"), observed(folder)
    exact = summary(evaluation_of(model, splits, QUICK, folder=tmp_path))
    coarse = summary(evaluation_of(model, splits, replace(QUICK, precision="bf16"), folder=tmp_path))
    assert exact != coarse
    assert coarse["forget_Q_A_Prob"] == pytest.approx(exact["forget_Q_A_Prob"], rel=0.05)
    assert coarse["exact_memorization"] == pytest.approx(exact["exact_memorization"], abs=0.05)
    assert summary(evaluation_of(model, splits, replace(QUICK, precision="no"), folder=tmp_path)) == exact
    with pytest.raises(ConfigurationError, match="precision is 'auto', 'no' or 'bf16'"):
        replace(QUICK, precision="half")


def test_the_users_own_files(folder: Path, tmp_path: Path):
    lines = [{"question": f"In which country is Rome {i} ?", "answer": "Italy ."} for i in range(4)]
    files = [write_lines(tmp_path / f"{name}.jsonl", lines) for name in ("forget", "retain")]
    options = ["--forget", files[0], "--retain", files[1], "--max-new-tokens", "4"]
    result = invoke(folder / "full", *options, "--gold", folder / "retain90", "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= {"exact_memorization", "forget_Q_A_Prob", "forget_Q_A_ROUGE", "retain_Q_A_Prob"}
    assert found["left_out"].keys() == {
        "forget_Q_A_PARA_Prob", "forget_truth_ratio", "model_utility", "scores",
        "mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus",
    }  # fmt: skip
    assert "left out: mia_loss needs a holdout" in result.stderr
    unseen = write_lines(tmp_path / "unseen.jsonl", [{"question": "the capital ?", "answer": "Paris"}])
    result = invoke(folder / "full", *options, "--holdout", unseen)
    assert result.exit_code == 0, result.output
    assert "mia_loss" in result.stdout


def test_texts_in_other_scripts_get_rouge_by_unicodes_words(folder: Path, tmp_path: Path):
    lines = [{"question": "In which country is Kyoto ?", "answer": "日本 の 都市"}]
    file = write_lines(tmp_path / "forget.jsonl", lines)
    options = ["--forget", file, "--retain", file, "--max-new-tokens", "4", "--out", tmp_path / "out", "--json", "-"]
    with pytest.warns(UserWarning, match="drops 5 of 5 words of the true answers, such as '日'"):
        assert json.loads(invoke(folder / "full", *options).stdout)["rouge"] == "ascii"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = invoke(folder / "full", *options, "--rouge", "unicode")
    assert json.loads(result.stdout)["rouge"] == "unicode"
    assert json.loads((tmp_path / "out" / "TOFU_EVAL.json").read_text())["forget_Q_A_ROUGE"]["words"] == "unicode"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--forget", "forget07"], "has no split 'forget07_perturbed'; it has"),
        (["--forget", "holdout10"], "not a forget split"),
        (["--forget", "forget10", "--retain", "x.jsonl"], "leave out --retain and --holdout"),
    ],
)
def test_bad_options_are_one_line(folder: Path, changes: list[str], message: str):
    result = invoke(folder / "full", "--data", folder / "tofu", *changes)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_what_stands_around_questions_is_never_chosen_in_silence(folder: Path, tmp_path: Path):
    bare, data = str(save_llama(tmp_path / "bare", template=None)), str(folder / "tofu")
    options = ["--data", data, "--forget", "forget10", "--max-new-tokens", "0"]
    result = CliRunner().invoke(app, ["evaluate", bare, *options])
    assert result.exit_code == 2
    assert "has no chat template; give --tags to ask as 'Question: … Answer: …'" in result.stderr
    result = CliRunner().invoke(app, ["evaluate", bare, *options, "--tags"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["evaluate", str(folder / "full"), *options, "--tags"])
    assert result.exit_code == 2
    assert "--tags is for tokenizers without a chat template" in result.stderr
    text = write_lines(tmp_path / "text.jsonl", [{"text": "Rome"}])
    asked = write_lines(tmp_path / "asked.jsonl", [{"question": "Rome ?", "answer": "Italy"}])
    method = ["--method", "engram-uniform", "--retain", str(text), str(tmp_path / "unlearned")]
    result = CliRunner().invoke(app, ["unlearn", bare, "--forget", str(asked), *method])
    assert result.exit_code == 2
    assert "give --tags" in result.stderr
    for forget, tags in ((text, []), (asked, ["--tags"])):
        result = CliRunner().invoke(app, ["unlearn", bare, "--forget", str(forget), *method, *tags, "--force"])
        assert result.exit_code == 0, result.output


def test_bad_files_are_one_line(folder: Path, tmp_path: Path):
    good = write_lines(tmp_path / "good.jsonl", [{"question": "Rome ?", "answer": "Italy"}])
    blank = write_lines(tmp_path / "blank.jsonl", [{"question": "Rome ?", "answer": "  "}])
    bare = save_llama(tmp_path / "bare", template=None, max_position_embeddings=256)
    other = save_llama(tmp_path / "other", template=CHAT.replace("<eos>", "<|im_end|>"), max_position_embeddings=256)
    for arguments, message in (
        ([folder / "full", "--forget", good], "give --retain FILE"),
        ([folder / "full", "--forget", "forget10"], "there is no file forget10"),
        ([folder / "full", "--forget", blank, "--retain", good], "'answer' is empty"),
        ([folder / "full", "--forget", tmp_path / "none.jsonl", "--retain", good], "there is no file"),
        ([bare, "--forget", good, "--retain", good, "--system", "Be brief."], "has no chat template"),
        ([folder / "full", "--forget", good, "--retain", good, "--gold", other], "have different chat templates"),
        ([folder / "full", "--forget", good, "--retain", good, "--gold", tmp_path / "gone"], "gone"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2, (message, result.output)
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_an_answer_without_a_token_is_refused(folder: Path):
    with pytest.raises(DataError, match="has no tokens"):
        observe_splits(observed(folder), {"forget": [TextExample.of_question("Rome ?", " \u2003 ")]}, QUICK)


def test_texts_beyond_the_window(folder: Path, tmp_path: Path):
    words = load_tokenizer(folder / "full")
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=len(words), n_positions=12, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    assert continue_greedily(model, words, ["Paris is"], 200)[0]
    with pytest.raises(ModelError, match="window of 12 tokens leaves no room"):
        continue_greedily(model, words, ["Paris " * 12], 200)
    prompts = ["Paris", "Paris is Rome"]  # the longer one must not take the other's room where they share a batch
    alone = [continue_greedily(model, words, [prompt], 9)[0] for prompt in prompts]
    assert continue_greedily(model, words, prompts, 9) == alone
    with pytest.raises(ModelError, match="longer than the 12 tokens that GPT2LMHeadModel reads"):
        observe_answers(model, words, ["Paris " * 9], ["Rome " * 9])


def test_tokenizers_are_told_apart(folder: Path):
    words = load_tokenizer(folder / "full")
    before = tokenizer_digest(words)
    words(["Rome", "Paris is"], padding=True, truncation=True, max_length=4)
    assert tokenizer_digest(words) == before == tokenizer_digest(load_tokenizer(folder / "retain90"))
    words.chat_template += " "
    assert tokenizer_digest(words) != before


def test_rows_that_end_are_taken_out(folder: Path):
    assert supports_dropping_rows(load_model(folder / "full"))
    sliding = LlamaForCausalLM(LlamaConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1, vocab_size=8))
    sliding.config.is_encoder_decoder = True
    assert not supports_dropping_rows(sliding)


def classifier(folder: Path) -> Path:
    words = tokenizer(None)
    names = {0: "clean", 1: "mild gibberish", 2: "noise"}
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        id2label=names, label2id={name: index for index, name in names.items()}, pad_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(3)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_fluency_by_a_classifier(folder: Path, tmp_path: Path):
    judge = classifier(tmp_path / "judge")
    texts = ["Paris is the capital", "", "Rome", "x"]
    found = probability_clean(judge, texts, batch_size=2)
    model, words = load_model(judge), load_tokenizer(judge)
    for text, value in zip(texts, found, strict=True):
        ids = torch.tensor([words(text)["input_ids"]])
        expected = model(ids).logits.softmax(-1)[0, 0].detach() if text else torch.tensor(0.0)
        assert value == pytest.approx(float(expected), abs=1e-6)
    with pytest.raises(ModelError, match="a class 'clean' is needed"):
        probability_clean(folder / "full", texts)
    splits = tofu_splits(folder / "tofu", "forget10")
    rated = evaluation_of(observed(folder), splits, QUICK, fluency=Fluency(str(judge)), folder=tmp_path)
    written = [row["generation"] for row in rated["forget_Q_A_ROUGE"]["value_by_index"].values()]
    assert rated[FLUENCY]["agg_value"] == pytest.approx(sum(probability_clean(judge, written)) / len(written))
    assert scores(rated, rated, rated).utility["ff"] == 1.0


def test_a_judge_is_told_by_its_weights_and_refused_before_anything_is_observed(folder: Path, tmp_path: Path):
    judge, splits = tmp_path / "judge", tofu_splits(folder / "tofu", "forget10")
    shutil.copytree(folder / "base", judge)
    first, alike = Fluency(base=str(judge)).digest(), Fluency(base=str(folder / "base")).digest()
    assert first == alike != ()
    assert Fluency().digest() == ()
    assert Fluency(base=str(folder / "retain90")).digest() != first
    wrong = Fluency(base=str(classifier(tmp_path / "classifier")))
    with pytest.raises(ModelError, match="take a causal language model"):
        evaluation_of(observed(folder), splits, QUICK, fluency=wrong, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fluency_under_a_base_model_is_named_as_what_it_is(folder: Path):
    model, words = load_model(folder / "base"), load_tokenizer(folder / "base")
    texts = ["Paris is the capital", "", "Rome"]
    found = losses_under(model, words, texts)
    assert found[1] is None
    ids = torch.tensor([[words.bos_token_id, *words(texts[0], add_special_tokens=False)["input_ids"]]])
    assert found[0] == pytest.approx(float(model(ids, labels=ids).loss.detach()), abs=1e-5)
    window, long = model.config.max_position_embeddings, "Paris is the capital " * 600
    tokens = [words.bos_token_id, *words(long, add_special_tokens=False)["input_ids"]]
    assert window < min(len(tokens), 512)
    ids = torch.tensor([tokens[:window]])
    expected = float(model(ids, labels=ids).loss.detach())
    assert losses_under(model, words, [long]) == [pytest.approx(expected, abs=1e-5)]
    words.bos_token = words.eos_token = None
    with pytest.raises(ModelError, match="no token after which a text can begin; set its bos_token"):
        losses_under(model, words, texts)
    entry = base_perplexity([1.0, None, 3.0])
    assert entry["agg_value"] == pytest.approx(math.exp(7 / 3))
    assert relative_fluency(20.0, 10.0) == 0.5
    assert relative_fluency(5.0, 10.0) == 1.0
    assert relative_fluency(base_perplexity([None])["agg_value"], 10.0) < 1e-300
    splits = tofu_splits(folder / "tofu", "forget10")
    rated = evaluation_of(observed(folder), splits, QUICK, fluency=Fluency(base=str(folder / "base")))
    assert FLUENCY not in rated
    assert scores(rated, rated, rated).utility.keys() == {"mu", "ff_perplexity"}
    assert rated[PERPLEXITY]["agg_value"] > 1.0
