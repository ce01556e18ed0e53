"""What keeps one artifact from gc."""

from cxr_core.refs import Ref
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.layout import Layout
from cxr_core.store.leases import LeasesSeen
from cxr_core.store.naming import Namer, Needs, namers, origins


def keepers(layout: Layout, artifacts: Artifacts, ref: Ref) -> list[str]:
    """In words, every run, pin, record and living lease that needs a blob which this artifact needs."""
    needs = Needs(artifacts)
    wanted = needs.of(ref)
    found = [_words(namer) for namer in namers(layout) if wanted & needs.of_all(namer.refs)]
    leases = LeasesSeen(layout, dry_run=True)
    leases.sweep()
    holding = {
        lease
        for lease, form, digest in leases.news()
        if wanted & (needs.of_tree(digest) if form == "tree" else {digest})
    }
    return found + [f"lease of {leases.holders.get(lease, lease)}" for lease in sorted(holding)]


def _words(namer: Namer) -> str:
    if namer.room == "runs":
        return f"run {namer.name}"
    if namer.room == "pins":
        return f"pin {namer.name.removesuffix('.json')}"
    return f"record {next((stage for stage, _ in origins(namer)), '')} {namer.name}"
