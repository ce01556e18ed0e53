"""``cxr store lineage``: the whole way from an artifact back to the X-rays."""

from pathlib import Path

from cxr_core.errors import UsageError
from cxr_core.lineage import Graph, document, lineage
from flows.answering import answer
from flows.naming import account_of
from flows.showing import output, say
from tasks.place import current_store


def show(name: str, run_id: str, svg: Path | None, html: Path | None, as_json: bool) -> None:
    """Draw it in the terminal, and into files where they are asked for."""
    from cxr_core.lineage import page, picture, tree

    root, known = account_of(name, run_id)
    graph = lineage(root, known)
    lost = lost_of(graph)
    if svg:
        _write(svg, picture.svg(graph, lost=lost))
    if html:
        _write(html, page.html(graph, lost=lost))
    if as_json:
        answer(document(graph, lost=lost))
    elif not (svg or html):
        output.print(tree.tree(graph, lost=lost))


def lost_of(graph: Graph) -> set[str]:
    """The digests of its outputs that are not in the store any more."""
    refs = (ref for account in graph.accounts() for ref in account.record.outputs.values())
    return {ref.digest for ref in refs if not current_store().has(ref)}


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    say(f"wrote {file}")
