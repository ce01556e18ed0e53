"""Room for what a stage will leave, looked for before it starts: not after hours of computing."""

from collections.abc import Iterable, Mapping
from itertools import islice

from pydantic import JsonValue

from cxr_core.errors import StoreError
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from cxr_core.store.why import belongs, parameter

_LOOKED_AT = 1000  # of the newest records: one a day of each branch is among them for weeks


def require_room(store: Store, label: str, parts: Mapping[str, JsonValue], inputs: Iterable[Ref]) -> None:
    """The rule: twice what the stage last left, of the same branch if there is one; it lies there once as it is made
    and once as it is kept. Where it never ran, as much as its inputs hold.

    Raises:
        StoreFull: that is more than the store's file system has left.
    """
    last = _last(store, parts)
    if last is None:
        refs, times, why = list(inputs), 1, "as much as its inputs hold"
    else:
        refs, times, why = list(last.outputs.values()), 2, "twice what it left the last time"
    needed, files = sum(ref.size for ref in refs), sum(_files(store, ref) for ref in refs)
    store.require_room(f"starting {label}", times * needed, times * files, why)


def _last(store: Store, parts: Mapping[str, JsonValue]) -> Record | None:
    stage, branch = str(parts["stage"]), [parameter(parts, name) for name in ("precision", "backend")]
    precision, backend = (value if isinstance(value, str) else None for value in branch)
    found = [record for record in islice(store.recent(), _LOOKED_AT) if record.stage == stage]
    return next((record for record in found if belongs(record, stage, precision, backend)), next(iter(found), None))


def _files(store: Store, ref: Ref) -> int:
    try:
        return len(store.entries(ref)) + (ref.form == "tree")
    except StoreError:  # lost since: a guess needs no more than the others
        return 1
