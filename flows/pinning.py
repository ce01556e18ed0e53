"""``cxr store pin`` and ``unpin``: names for what gc must keep."""

from collections.abc import Sequence

from cxr_core.errors import StoreError, UsageError
from cxr_core.refs import Ref
from flows.answering import answer
from flows.naming import resolve
from flows.showing import output
from tasks.place import current_store


def pin(name: str, references: Sequence[str], run_id: str, as_json: bool) -> None:
    """Name artifacts, all outputs of records, or all that a run left."""
    refs: dict[tuple[str, str], Ref] = {}
    for reference in references:
        for ref in _refs(reference, run_id):
            refs.setdefault((ref.form, ref.digest), ref)
    hold(name, list(refs.values()))
    size = sum(ref.size for ref in refs.values())
    if as_json:
        answer({"pin": name, "refs": [ref.model_dump(mode="json") for ref in refs.values()]})
    else:
        output.print(f"pinned {len(refs)} artifacts, {size:,} bytes, as {name}: gc keeps them", highlight=False)


def unpin(name: str, as_json: bool) -> None:
    """Take a name away; what it named stays until gc finds no other reason to keep it."""
    refs = current_store().pins().get(name, ())
    current_store().unpin(name)
    if as_json:
        answer({"unpinned": name, "refs": [ref.model_dump(mode="json") for ref in refs]})
    else:
        output.print(
            f"unpinned {name}; its {len(refs)} artifacts go with the next gc that nothing else holds them from"
        )


def hold(name: str, refs: Sequence[Ref], *, dry: bool = False) -> bool:
    """Pin, but never in place of something else; whether it is new. ``dry`` only looks.

    Raises:
        UsageError: the name stands for something else, is not plain, or there is nothing to pin.
    """
    store = current_store()
    with store.lock("pins"):  # the look and the pin are one step
        there = store.pins().get(name)
        wanted = {(ref.form, ref.digest) for ref in refs}
        if there is not None and {(ref.form, ref.digest) for ref in there} != wanted:
            raise UsageError(
                f"{name} is taken by {there[0].form} {there[0].digest[:19]} and would become {refs[0].digest[:19]}"
                f"{_differing(there, refs)}. Choose another name, or free this one: cxr store unpin {name}"
            )
        if there is None and not dry:
            with store.lease(f"pin {name}"):
                store.pin(name, refs)
    return there is None


def _refs(reference: str, run_id: str) -> Sequence[Ref]:
    runs = {run.run_id: run.content for run in current_store().runs()}
    if reference in runs:
        from flows.runs import records_of

        return [ref for record in records_of(reference) for ref in record.outputs.values()]
    return resolve(reference, run_id).refs


def _differing(there: Sequence[Ref], refs: Sequence[Ref]) -> str:
    """The files that differ, where both are trees that can be read."""
    trees = [[ref for ref in side if ref.form == "tree"] for side in (there, refs)]
    try:
        one, other = ({(e.name, e.digest) for ref in side for e in current_store().entries(ref)} for side in trees)
    except StoreError:
        return ""
    names = sorted({name for name, _ in one ^ other}) if one and other else []
    return f"; they differ in {', '.join(names)}" if names else ""
