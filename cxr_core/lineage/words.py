"""How the nodes of a lineage are put into words: the same lines in the terminal and in the picture."""

from collections.abc import Collection, Iterator

from cxr_core.lineage.accounts import Account
from cxr_core.lineage.document import code_digest, place
from cxr_core.lineage.graph import Node
from cxr_core.lineage.parameters import changed
from cxr_core.refs import Ref

# Told by other words: the system's long name, and what tells machines apart only for the key.
_NOT_VERSIONS = {"system", "machine", "python", "cpu", "cpus", "instructions", "version", "threads", "gpus"}


def short(digest: str) -> str:
    """The start of a digest, enough to name it by."""
    return digest.removeprefix("sha256:")[:12]


def made(account: Account) -> str:
    """When, how long and where."""
    where = place(account.record)
    machine = where.get("cpu") or where.get("machine") or "machine unknown"
    told = "" if account.source == "record" else f"known from {account.source}, "
    when = account.when.replace("T", " ").replace("+00:00", " UTC")
    return f"{told}{when}, {account.record.seconds:,.1f} s on {machine}"


def versions(account: Account) -> str:
    """The interpreter, the backend and the packages."""
    where = place(account.record)
    backend = account.branch.partition("@")[2]
    named = {"python": where.get("python"), **({backend: where.get("version")} if where.get("version") else {})}
    packages = {name: value for name, value in where.items() if name not in _NOT_VERSIONS}
    return ", ".join(f"{name} {value}" for name, value in {**named, **packages}.items() if value)


def code(account: Account) -> str:
    """The digest of the code, and what differs from the profile's defaults."""
    digest, modules = code_digest(account.record)
    return f"code {short(digest)} of {modules} modules"


def parameters(account: Account) -> str:
    """What differs from the profile's defaults."""
    differing = changed(account.record)
    named = (f"{name}={_plain(value)}" for name, value in differing.items())
    return ", ".join(named) if differing else "parameters as by default"


def outputs(account: Account, lost: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Each output with digest and size, and whether it is still there."""
    for name, ref in account.record.outputs.items():
        yield f"{name} {short(ref.digest)} {size(ref)}", ref.digest not in lost


def lost_words(node: Node) -> str:
    """What a node that no account stands behind is."""
    if node.kind == "data":
        return "the folder of radiographs, by the digest over all its files"
    if node.kind == "brought":
        return "a file that the user brought: nothing is known of its making"
    return "no record, run or release tells any more how it was made"


def size(ref: Ref) -> str:
    """Bytes, in a unit that leaves at most four digits."""
    number = float(ref.size)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _plain(value: object) -> str:
    text = str(value)
    return short(text) if text.startswith("sha256:") else text
