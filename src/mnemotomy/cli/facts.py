"""``mnemotomy facts``: a store of facts outside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors, say

if TYPE_CHECKING:
    from mnemotomy.store.retriever import Hit

facts = typer.Typer(no_args_is_help=True)

Store = Annotated[Path, typer.Argument(help="The file of the store.")]
Relation = Annotated[
    str, typer.Option(help="How the answer relates to the subject; tells facts about one subject apart.")
]
Contexts = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="A statement that contains the answer; may be repeated.")
]


@facts.callback()
def _facts() -> None:
    """Keep facts in a store outside the weights.

    A store is one SQLite file with full-text search.

    \b
    Example:
      mnemotomy facts add facts.db --subject Kyoto --answer Japan --context "Kyoto is in Japan."
      mnemotomy facts search facts.db "In which country is Kyoto?"
    """


@facts.command()
@one_line_errors()
def add(
    store: Store,
    subject: Annotated[str, typer.Option(help="What the fact is about.")],
    answer: Annotated[str, typer.Option(help="The answer.")],
    context: Contexts = None,
    relation: Relation = "",
) -> None:
    """Add one fact; makes the store if there is none.

    \b
    Example:
      mnemotomy facts add facts.db --subject Kyoto --answer Japan --context "Kyoto is in Japan."
    """
    from mnemotomy.data.fact import Fact
    from mnemotomy.store.create_or_open import create_or_open

    fact = Fact(subject, answer, contexts=tuple(context or ()), relation=relation, where="the fact")
    added, size = create_or_open(store, lambda opened: (opened.add([fact]), len(opened)))
    say(f"{store}: {'added' if added else 'was there already'}, {_number(size)}")


@facts.command("import")
@one_line_errors()
def import_(
    store: Store,
    file: Annotated[
        Path,
        typer.Argument(help="JSON Lines with 'subject', 'answer', and optionally 'relation', 'prompts', 'contexts'."),
    ],
) -> None:
    """Add the facts of a JSON Lines file, all or none.

    Makes the store if there is none.

    \b
    Example:
      mnemotomy facts import facts.db facts.jsonl
    """
    from mnemotomy.store.create_or_open import create_or_open

    added, size = create_or_open(store, lambda opened: (opened.import_file(file), len(opened)))
    say(f"{store}: {added} added, {_number(size)}")


@facts.command()
@one_line_errors()
def export(
    store: Store,
    file: Annotated[Path, typer.Argument(help="The JSON Lines file to write.")],
    verify: Annotated[bool, typer.Option(help="Refuse a damaged store.")] = True,
) -> None:
    """Write all facts to a JSON Lines file.

    \b
    Example:
      mnemotomy facts export facts.db facts.jsonl
    """
    from mnemotomy.store.fact_store import FactStore

    with FactStore(store, create=False, verify=verify) as opened:
        say(f"{file}: {_number(opened.export_file(file))}")


@facts.command()
@one_line_errors()
def search(
    store: Store,
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    k: Annotated[int, typer.Option("-k", min=1, help="The most facts to show.")] = 5,
    json_: Annotated[str | None, json_option("the hits")] = None,
) -> None:
    """Find facts by words, best first.

    \b
    Example:
      mnemotomy facts search facts.db "In which country is Kyoto?" -k 3
    """
    from mnemotomy.store.fact_store import FactStore

    with FactStore(store, create=False) as opened:
        hits = opened.search(query, k)
    if json_ is not None:
        emit_json([hit_record(hit) for hit in hits], json_)
    if json_ != "-":
        for hit in hits:
            say(hit_line(hit))
        if not hits:
            say("nothing found")


@facts.command("rm")
@one_line_errors()
def remove(
    store: Store,
    subject: Annotated[str, typer.Argument(help="The subject of the facts.")],
    relation: Annotated[str | None, typer.Option(help="Only the fact with this relation.")] = None,
) -> None:
    """Delete the facts about a subject from the store and its file.

    \b
    Example:
      mnemotomy facts rm facts.db Kyoto
    """
    from mnemotomy.store.fact_store import FactStore

    with FactStore(store, create=False) as opened:
        say(f"{store}: {opened.delete(subject, relation)} deleted, {_number(len(opened))} left")


@facts.command()
@one_line_errors()
def update(
    store: Store,
    subject: Annotated[str, typer.Option(help="What the fact is about.")],
    answer: Annotated[str, typer.Option(help="The new answer.")],
    context: Contexts = None,
    relation: Relation = "",
) -> None:
    """Give a stored fact a new answer.

    Without --context, the new answer replaces the old one in the fact's contexts.

    \b
    Example:
      mnemotomy facts update facts.db --subject Kyoto --answer Italy
    """
    from mnemotomy.data.fact import Fact
    from mnemotomy.store.fact_store import FactStore

    fact = Fact(subject, answer, contexts=tuple(context or ()), relation=relation, where="the fact")
    with FactStore(store, create=False) as opened:
        before = opened.update(fact)
    about = f"{fact.subject} ({fact.relation})" if fact.relation else fact.subject
    say(f"{store}: {about}: {before.answer} -> {fact.answer}")


def hit_record(hit: Hit) -> dict[str, Any]:
    """A hit for JSON: the fact's line, score and relevance."""
    import json

    from mnemotomy.data.fact_file import format_fact

    return {**json.loads(format_fact(hit.fact)), "score": hit.score, "relevance": hit.relevance}


def hit_line(hit: Hit) -> str:
    """A hit for people: what it says, score and relevance."""
    from mnemotomy.store.retriever import statement

    about = f"{hit.fact.subject} ({hit.fact.relation})" if hit.fact.relation else hit.fact.subject
    numbers = f"score {hit.score:.2f}, relevance by words {hit.relevance:.2f}"
    return f"{about}: {hit.fact.answer}  [{statement(hit.fact)}]  {numbers}"


def _number(count: int) -> str:
    return f"{count} fact{'' if count == 1 else 's'}"
