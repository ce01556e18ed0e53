"""The command line. Each command's body lives in a module of its own, imported when it is called."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console

from cxr_core import __version__
from cxr_core.errors import CxrError, UsageError
from cxr_core.refs import Precision
from flows import settings, store_commands
from flows.answering import answer
from flows.options import JsonOption, RunOption, StoreOption, use_store

app = typer.Typer(
    name="cxr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Which numeric precision may this chest X-ray model ship in?\n\n"
    "Trains (or takes) a classifier, exports it to ONNX, builds an engine per precision and backend, measures "
    "speed and accuracy against the FP32 reference, and answers with one decision table. Research only: no "
    "medical device.\n\n"
    "Exit status: 0 all well (a verdict is a result, whatever it says), 1 a branch crashed, the parity gate "
    "refused or a required verdict is missing, 2 wrong use, 3 this machine lacks something, 130 interrupted.",
)
store_app = typer.Typer(no_args_is_help=True, help="Look into the content store: what is there, why it was computed.")
data_app = typer.Typer(no_args_is_help=True, help="Look at the radiographs before a run takes them in.")
schedule_app = typer.Typer(help="The nightly and the weekly of the server that is up: show, pause, resume, set.")
bench_app = typer.Typer(help="Measure one engine once more, or judge what trtexec measured elsewhere.")
app.add_typer(bench_app, name="bench")
app.add_typer(schedule_app, name="schedule")
app.add_typer(store_app, name="store")
app.add_typer(data_app, name="data")
store_commands.add_to(app, store_app)

_INTERRUPTED = 130

terminal = Console(stderr=True)

ProfileOption = Annotated[str, typer.Option(help="smoke, quick, full, paper, or the path of a YAML file.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        sys.stdout.write(f"cxr {__version__}\n")
        raise typer.Exit


@app.command()
def run(
    profile: ProfileOption = "quick",
    data: Annotated[
        str | None,
        typer.Option(help="Folder of radiographs, or phantom. [env CXR_DATA; default: data/chest_xray, then phantoms]"),
    ] = None,
    precision: Annotated[list[Precision] | None, typer.Option(help="Precision to judge; may be repeated.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Backend to build on; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="Any timm model name. (train.model)")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Your own weights (.safetensors, .pt) instead of training.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Your own ONNX graph instead of training and exporting.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change any profile field, such as train.images=20000; may be repeated.",
        ),
    ] = None,
    refresh: Annotated[
        list[str] | None, typer.Option(metavar="PRECISION@BACKEND", help="Compute this branch anew.")
    ] = None,
    rebuild: Annotated[
        str, typer.Option(help="engines builds, measures and scores every engine anew; never training.")
    ] = "nothing",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Run the full flow and print the decision table. What is already computed is taken from the store."""
    use_store(store)
    from flows.running import run_flow

    overrides = parse_overrides([*(set_ or []), *([f"train.model={model}"] if model else [])])
    # These two have options of their own, and only those are in the form.
    precisions = precision or overrides.pop("precisions", None)
    backends = backend or overrides.pop("backends", None)
    if "name" in overrides:
        raise UsageError("--set name: a profile's name is that of its file; copy the file to give it another")
    is_file = "/" in profile or profile.endswith(".yaml")
    summary = run_flow(
        "full",
        {
            "profile": "quick" if is_file else profile,
            "profile_file": profile if is_file else None,
            "data": data,
            "precisions": precisions,
            "backends": backends,
            "weights": str(weights) if weights else None,
            "onnx": str(onnx) if onnx else None,
            "overrides": overrides or None,
            "refresh": refresh or None,
            "rebuild": rebuild,
        },
        quiet=json_,
    )
    _end(summary, json_)


@app.command()
def rerun(
    precision: Annotated[Precision, typer.Option(help="The branch's precision.")],
    backend: Annotated[str | None, typer.Option(help="The branch's backend; none means each of the run's.")] = None,
    run_id: RunOption = "latest",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Redo one precision branch of a run; everything else is taken from the store."""
    use_store(store)
    from flows.running import run_flow

    summary = run_flow("precision-branch", {"precision": precision, "backend": backend, "run": run_id}, quiet=json_)
    _end(summary, json_)


@bench_app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    run_id: RunOption = "latest",
    precision: Annotated[Precision, typer.Option(help="Which engine of the run.")] = Precision.FP32,
    backend: Annotated[str, typer.Option(help="Which backend's.")] = "openvino",
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Queries a second, in an open loop with Poisson arrivals: latency under load."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long queries arrive, with --rate.")] = 10,
    sweep: Annotated[bool, typer.Option("--sweep", help="All batches, and the knee of the rate.")] = False,
    ab: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--ab", metavar="ENGINE ENGINE", help="Two engines in turns: int8@openvino, a digest, a release each."
        ),
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure one engine of a run once more, in turns with its reference. The run's record stays as it is."""
    if context.invoked_subcommand is not None:
        return
    if sum((rate is not None, sweep, ab is not None)) > 1:
        raise UsageError("--rate, --sweep and --ab are three different measurements; give one")
    use_store(store)
    from flows import measured, measuring

    branch = f"{precision}@{backend}"
    if rate is not None:
        load = measuring.bench_load(run_id, branch, rate, seconds)
        answer(load.model_dump(mode="json")) if json_ else measured.print_load(load)
    elif sweep:
        swept = measuring.bench_sweep(run_id, branch)
        answer(swept.model_dump(mode="json")) if json_ else measured.print_sweep(swept)
    elif ab is not None:
        compared = measuring.bench_ab(run_id, *ab)
        answer(compared.model_dump(mode="json")) if json_ else measured.print_ab(compared)
    else:
        found = measuring.bench_once(run_id, branch)
        answer(found) if json_ else measured.print_benchmark(found)


@bench_app.command("import")
def bench_import(
    logs: Annotated[
        list[Path] | None,
        typer.Argument(help="Logs of trtexec 8 to 11; none: those of the context.", show_default=False),
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(help="A YAML file with what a log cannot hold: the card, the model, the data set, claims."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """A decision table from trtexec's logs alone, and what those logs do not show, with the arithmetic."""
    from cxr_core.bench.trtexec.importing import import_logs
    from flows.judging import print_judgement

    found = import_logs(logs or [], context)
    answer(found.model_dump(mode="json")) if json_ else print_judgement(found)


@bench_app.command("export")
def bench_export(
    folder: Annotated[Path, typer.Argument(help="A folder that is new or empty.", show_default=False)],
    run_id: RunOption = "latest",
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Write what a run timed as trtexec does: a log, --exportTimes, and a context for bench import, by backend."""
    use_store(store)
    from flows.exporting import export_run

    written = [str(path) for path in export_run(run_id, folder)]
    answer(written) if json_ else sys.stdout.write("".join(f"cxr bench import --context {path}\n" for path in written))


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Image files or folders.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--onnx",
            metavar="WHAT",
            help="An ONNX file exported here, a release of the store (releases/NAME), a bundle (NAME.cxr.tar), or the "
            "folder that one was unpacked into. Default: the run's.",
        ),
    ] = None,
    run_id: RunOption = "latest",
    key: Annotated[Path | None, typer.Option(help="Public key that the bundle must be signed by.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a row for each file there.")] = None,
    scope: Annotated[
        bool,
        typer.Option(
            "--scope/--any-picture", help="Name out of scope what is no frontal chest radiograph, or label it too."
        ),
    ] = True,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Label radiographs: PNEUMONIA or NORMAL, with the calibrated probability. Research only: no medical device.

    Needs ONNX Runtime alone. What cannot be read, and what is no frontal chest radiograph, gets a row that says why.
    No file stops the others. The check of scope is coarse: docs/prediction.md says how often it errs.

    Exit status:
    0 every file was labelled or is out of scope,
    1 a file could not be read (all others are answered), or a bundle is not proven,
    2 wrong use: nothing at a path, no such model, or none that can be used,
    3 the store cannot be used, 130 interrupted.
    """
    use_store(store)
    from flows.predicting import Asked, predict

    raise typer.Exit(predict(Asked(paths, model, key, run_id, csv, json_, scope)))


@app.command()
def doctor(store: StoreOption = None, json_: JsonOption = False) -> None:
    """What this machine can do: which precisions run natively, emulated or not, and what to install."""
    use_store(store)
    from flows.doctor import examine, print_examination

    found = examine()
    answer(found) if json_ else print_examination(found)


@app.command()
def report(run_id: RunOption = "latest", store: StoreOption = None, json_: JsonOption = False) -> None:
    """Show a run's decision table once more, and where its report is."""
    use_store(store)
    from flows.runs import lost_of, read_summary, records_of

    summary = read_summary(run_id)
    summary["lost"] = lost_of(records_of(summary["run_id"]))
    _end(summary, json_, verdict_only=True)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65534, help="Port of the Prefect UI; reports take the next.")] = 4200,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine needs --auth.")] = "127.0.0.1",
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="USER:PASSWORD", envvar="PREFECT_SERVER_API_AUTH_STRING", help="What the server asks everybody for."
        ),
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE/NAME",
            help="A notification block of the server, told of a failed nightly and of a verdict that is lost.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Bring it up in the background and return.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that is up.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say what is up.")] = False,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Bring up Prefect's server and UI, the deployments, the schedules and a worker; Ctrl-C ends them all."""
    use_store(store)
    from flows import serving

    if sum((detach, stop, status)) > 1:
        raise UsageError("--detach, --stop and --status are three different wishes; give one")
    if stop:
        serving.stop(as_json=json_)
    elif status:
        serving.status(as_json=json_)
    elif detach:
        serving.detach(port, host, auth, notify, as_json=json_)
    else:
        serving.serve(port, host, auth, notify, as_json=json_)


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(help="Work pool, as a profile's placement names it; made if need be.")],
    api: Annotated[
        str, typer.Option(metavar="URL", envvar="PREFECT_API_URL", help="Such as http://trainer:4200, of cxr serve.")
    ],
    auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", envvar="PREFECT_API_AUTH_STRING", help="What that server asks for."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Lend this machine to another's server: compute the parts that a placement sends here; Ctrl-C ends it."""
    use_store(store)
    from flows import serving

    serving.join(pool, api, auth)


SlugArgument = Annotated[str, typer.Argument(help="nightly or weekly.")]


def _scheduling() -> ModuleType:
    """The module, imported once the server that is up has been named to Prefect."""
    settings.prepare()
    from flows.servers import connect

    connect()
    from flows import scheduling

    return scheduling


@schedule_app.callback(invoke_without_command=True)
def schedule(context: typer.Context, json_: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        _scheduling().show(as_json=json_)


@schedule_app.command("pause")
def schedule_pause(name: SlugArgument = "nightly", json_: JsonOption = False) -> None:
    """It fires no more until it is resumed, also after a restart of the server."""
    _scheduling().pause(name, as_json=json_)


@schedule_app.command("resume")
def schedule_resume(name: SlugArgument = "nightly", json_: JsonOption = False) -> None:
    """Let it fire again."""
    _scheduling().resume(name, as_json=json_)


@schedule_app.command("set")
def schedule_set(
    name: SlugArgument = "nightly",
    cron: Annotated[str | None, typer.Option(help='When, as a cron line: "0 2 * * *" is every day at 02:00.')] = None,
    timezone: Annotated[str | None, typer.Option(help="Where it is that time, such as Europe/Berlin.")] = None,
    json_: JsonOption = False,
) -> None:
    """Give it another time."""
    _scheduling().set_time(name, cron, timezone, as_json=json_)


@store_app.command("ls")
def store_ls(
    stage: Annotated[str | None, typer.Argument(help="Only this stage's records.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Every finished stage in the store, newest first."""
    use_store(store)
    from flows import storing

    storing.ls(stage, json_)


@store_app.command("show")
def store_show(
    name: Annotated[str, typer.Argument(help="A record's key or an artifact's digest, or the start of one.")],
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """One record or artifact in full."""
    use_store(store)
    from flows import storing

    storing.show(name, json_)


@store_app.command("why")
def store_why(
    stage: Annotated[str | None, typer.Argument(help="A stage: ingest, train, export, engine …")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Of this branch.")] = None,
    backend: Annotated[str | None, typer.Option(help="Of this branch.")] = None,
    run_id: Annotated[
        str | None,
        typer.Option("--run", help="Each stage of this run, hit or computed. A run's id, or latest, as without STAGE."),
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Why a stage was computed anew: which part of its key changed against the nearest earlier record."""
    use_store(store)
    from flows import explaining

    explaining.why(stage, precision, backend, run_id, json_)


@store_app.command("verify")
def store_verify(store: StoreOption = None, json_: JsonOption = False) -> None:
    """Read every artifact and check its digest. Exit 1 if new damage was found; it is moved to quarantine."""
    use_store(store)
    from flows import storing

    raise typer.Exit(storing.verify(json_))


@store_app.command("gc")
def store_gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and why the rest stays; remove nothing.")
    ] = False,
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what was made within so many days.")] = 30,
    keep_runs_days: Annotated[
        float,
        typer.Option(min=0, help="Forget older runs, but of each profile never the newest and the newest green one."),
    ] = 90,
    explain: Annotated[
        str | None,
        typer.Option(metavar="REF", help="With --dry-run: only say what keeps this artifact, record, branch or pin."),
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Forget old runs, and remove what no run, pin, recent record or living lease names."""
    use_store(store)
    if explain is not None:
        if not dry_run:
            raise UsageError("--explain only looks, and gc without --dry-run removes: give both, or neither")
        from flows import explaining

        explaining.keepers(explain, "latest", json_)
        return
    from flows import storing

    storing.gc(dry_run, keep_days, keep_runs_days, json_)


@store_app.command("path")
def store_path(
    digest: Annotated[str, typer.Argument(help="An artifact's digest, or the start of one.")],
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """The file that holds an artifact; other tools can open it, sha256sum proves it."""
    use_store(store)
    from flows import storing

    storing.path(digest, json_)


@data_app.command("check")
def data_check(
    folder: Annotated[Path | None, typer.Argument(help="Default: where run would look.")] = None,
    profile: ProfileOption = "quick",
    json_: JsonOption = False,
) -> None:
    """Take a folder in as a run would and say what is in it, without computing anything else."""
    from flows.checking import check_data, print_check

    found = check_data(folder, profile)
    answer(found) if json_ else print_check(found)


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """``train.images=20000`` to ``{"train": {"images": 20000}}``; values are read as YAML.

    Raises:
        UsageError: no equals sign, a value that is not YAML, or a section that is also given a value.
    """
    import yaml

    from cxr_core.config import parse_yaml

    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {assignment}: FIELD=VALUE is expected, such as --set train.images=20000")
        try:
            parsed = parse_yaml(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {assignment}: the value is not YAML; put it in quotes") from error
        *sections, field = name.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {assignment}: {section} is a value, not a section")
        place[field] = parsed
    return found


def _end(summary: dict[str, Any], as_json: bool, *, verdict_only: bool = False) -> None:
    from flows.showing import print_summary

    answer(summary) if as_json else print_summary(summary)
    if summary["state"] == "failed" and not verdict_only:
        raise typer.Exit(int(summary.get("exit_code", 1)))


def main() -> None:
    """Entry point of ``cxr``: errors made on purpose become one message and an exit status."""
    try:
        status = app(standalone_mode=False)  # an Exit's status comes back as the value
        code = status if isinstance(status, int) else 0
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except CxrError as error:
        code = _told(type(error).__name__, str(error), error.exit_code)
    except Exception as error:
        # Typer carries its own click, so its usage errors are known by what they can do, not by their class.
        if not (hasattr(error, "show") and hasattr(error, "format_message")):
            raise
        error.show()
        code = _told("UsageError", error.format_message(), 2, shown=True)
    if code == _INTERRUPTED:
        text = "\ninterrupted; every finished stage is kept, the same command goes on from there"
        terminal.print(text, soft_wrap=True)
    sys.exit(code)


def _told(kind: str, message: str, code: int, *, shown: bool = False) -> int:
    if not shown:
        terminal.print(f"[bold red]{kind}[/]: ", end="")
        terminal.print(message, markup=False, highlight=False, soft_wrap=True)
    if "--json" in sys.argv:
        answer({"error": kind, "message": message, "exit_code": code})
    return code


if __name__ == "__main__":
    main()
