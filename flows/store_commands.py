"""Commands about where artifacts come from, where they go, what they take: lineage, bundles, pins, mirrors, du."""

from pathlib import Path
from typing import Annotated

import typer

from cxr_core.refs import Precision
from flows.options import JsonOption, RunOption, StoreOption, use_store

_REF = "The start of a digest or a key, a pin such as releases/NAME, a stage, or a branch such as int8@openvino."

RefArgument = Annotated[str, typer.Argument(metavar="REF", help=_REF)]
SideArgument = Annotated[str, typer.Argument(help=f"{_REF} Or a run's id, or latest.")]
KeyOption = Annotated[
    Path | None, typer.Option(metavar="PUBKEY", help="Demand a signature by this Ed25519 public key (PEM).")
]


def add_to(app: typer.Typer, store_app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command("promote")(promote)
    app.command("verify-bundle")(verify_bundle)
    store_app.command("du")(store_du)
    store_app.command("lineage")(store_lineage)
    store_app.command("diff")(store_diff)
    store_app.command("pin")(store_pin)
    store_app.command("unpin")(store_unpin)
    store_app.command("export")(store_export)
    store_app.command("import")(store_import)
    store_app.command("push")(store_push)
    store_app.command("pull")(store_pull)


def promote(
    name: Annotated[str, typer.Option(help="What the release is called, such as 2026-11-24.")],
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="The branch's precision; none means the fastest that passed of --backend, or of the profile's first."
        ),
    ] = None,
    run_id: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id, or latest.")] = "latest",
    backend: Annotated[
        str | None, typer.Option(help="The branch's backend; none means the only one that passed.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it although its verdict is not pass; the release says so.")
    ] = False,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a release of one branch of a run: engine, graph, preprocessing, threshold, report, lineage, licences."""
    use_store(store)
    from flows import promoting

    promoting.promote(run_id, precision, backend, name, force, json_)


def verify_bundle(
    file: Annotated[Path, typer.Argument(help="A bundle that store export wrote.")],
    key: KeyOption = None,
    json_: JsonOption = False,
) -> None:
    """Prove a bundle offline: every byte against its manifest, and its signature where a key is given. Exit 0 or 1."""
    from flows import proving

    proving.verify(file, key, json_)


def store_du(store: StoreOption = None, json_: JsonOption = False) -> None:
    """What takes the room: what stages, runs and pins name, against what is on disk once."""
    use_store(store)
    from flows import storing

    storing.du(json_)


def store_lineage(
    name: RefArgument,
    run_id: RunOption = "latest",
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it into an SVG file.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one page, without network.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """The whole way from an engine, or any artifact, back to the X-rays."""
    use_store(store)
    from flows import lineage

    lineage.show(name, run_id, svg, html, json_)


def store_diff(
    one: SideArgument,
    other: SideArgument,
    run_id: RunOption = "latest",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """What differs between two runs, two records, or two artifacts. Exit 1 if anything does."""
    use_store(store)
    from flows import differing

    raise typer.Exit(differing.diff(one, other, run_id, json_))


def store_pin(
    name: Annotated[str, typer.Argument(help="The pin, such as keep/best; up to four parts.")],
    references: Annotated[list[str], typer.Argument(metavar="REF...", help=f"{_REF} Or a run's id.")],
    run_id: RunOption = "latest",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Name artifacts, so that gc keeps them."""
    use_store(store)
    from flows import pinning

    pinning.pin(name, references, run_id, json_)


def store_unpin(
    name: Annotated[str, typer.Argument(help="The pin.")], store: StoreOption = None, json_: JsonOption = False
) -> None:
    """Take a pin away. What only it kept goes with the next gc."""
    use_store(store)
    from flows import pinning

    pinning.unpin(name, json_)


def store_export(
    name: Annotated[str, typer.Argument(metavar="REF", help=f"{_REF} Or a run's id, or latest.")],
    file: Annotated[Path | None, typer.Argument(help="Where to; default NAME.cxr.tar here.")] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEYFILE", help="Sign it with this Ed25519 private key (PEM).")
    ] = None,
    run_id: RunOption = "latest",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a release, an artifact or a whole run into one archive with its provenance; the same bytes every time."""
    use_store(store)
    from flows import bundling

    bundling.export(name, file, sign, run_id, json_)


def store_import(
    file: Annotated[Path, typer.Argument(help="A bundle that store export wrote.")],
    key: KeyOption = None,
    pin: Annotated[str | None, typer.Option(help="Keep it under this pin instead of its own name.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Prove a bundle and take what it holds into the store."""
    use_store(store)
    from flows import bundling

    bundling.take_in(file, key, pin, json_)


UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="file:///folder or s3://bucket/prefix.")]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REF]...", help=f"Only what these need. {_REF} Or a run's id, or latest."),
]
JobsOption = Annotated[int, typer.Option(min=1, max=64, help="How many files at a time.")]


def store_push(
    url: UrlArgument,
    names: NamesArgument = None,
    run_id: RunOption = "latest",
    force: Annotated[
        bool, typer.Option("--force", help="Send also what is there, and replace records, runs and pins that differ.")
    ] = False,
    jobs: JobsOption = 8,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Send a mirror what it lacks of all that runs, pins and records name. Exit 1 if something was left out."""
    use_store(store)
    from flows import mirroring

    raise typer.Exit(mirroring.push(url, names or [], run_id, force, jobs, json_))


def store_pull(
    url: UrlArgument,
    names: NamesArgument = None,
    run_id: RunOption = "latest",
    force: Annotated[
        bool, typer.Option("--force", help="Take the mirror's records, runs and pins where this store's differ.")
    ] = False,
    jobs: JobsOption = 8,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Take from a mirror what this store lacks, proven byte by byte. Exit 1 if something was left out."""
    use_store(store)
    from flows import mirroring

    raise typer.Exit(mirroring.pull(url, names or [], run_id, force, jobs, json_))
