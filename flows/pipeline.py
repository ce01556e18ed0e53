"""The full flow: from a folder of radiographs to one decision table.

Its signature is the form that a person fills in. Every override is optional and None means "as in
the profile". Stages run in child processes, one at a time on one device, and a failed branch stops
neither its siblings nor the report.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from cxr_core.child import kill_children
from cxr_core.config import Profile
from cxr_core.data.fingerprint import fingerprint
from cxr_core.engines import registry
from cxr_core.errors import BranchError, CxrError
from cxr_core.refs import Precision, Record
from cxr_core.report.document import DataFacts, Failure, ModelFacts, RunHeader
from flows import placing, runs
from flows.drifting import changes, lost_verdicts
from flows.form import BackendName, Blank, Overrides, ProfileName
from flows.inputs import settle, unsupported
from flows.ledger import Entry, Ledger
from flows.publishing import introduce, publish, tell_of_lost
from tasks.accuracy import accuracy, model_identity
from tasks.benchmark import benchmark
from tasks.calibration import calibration
from tasks.compare import BranchOutcome, compare
from tasks.engine import engine
from tasks.export import adopt_graph, export
from tasks.ingest import ingest
from tasks.occlusion import occlusion
from tasks.parity import parity, parity_of_adopted
from tasks.place import current_store
from tasks.report import report
from tasks.robustness import robustness
from tasks.split import split
from tasks.stage import StageTask, refreshed
from tasks.tensors import tensors
from tasks.train import adopt_weights, train
from tasks.variant import variant

_REFERENCE = (Precision.FP32, "onnxruntime")


# Threads only wait for child processes; there are enough for every branch at once.
THREADS: Any = ThreadPoolTaskRunner(max_workers=32)


def _run_name() -> str:
    return f"{flow_run.parameters['profile']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@flow(name="full", flow_run_name=_run_name, task_runner=THREADS, persist_result=False)
def pipeline(
    profile: ProfileName = "quick",
    precisions: Annotated[list[Precision] | None, Blank()] = None,
    backends: Annotated[list[BackendName] | None, Blank()] = None,
    data: Annotated[str | None, Blank()] = None,
    profile_file: Annotated[str | None, Blank()] = None,
    weights: Annotated[str | None, Blank()] = None,
    onnx: Annotated[str | None, Blank()] = None,
    refresh: Annotated[list[str] | None, Blank()] = None,
    rebuild: Literal["nothing", "engines"] = "nothing",
    overrides: Overrides | None = None,
) -> State[Any]:
    """Train, export, build, measure and judge every precision asked for.

    Args:
        profile: Which profile to run.
        precisions: Precisions to judge; blank means as in the profile.
        backends: Backends to build on; blank means as in the profile.
        data: Folder of radiographs, or phantom; blank means CXR_DATA, data/chest_xray or generated phantoms.
        profile_file: A profile of your own, the path of a YAML file; it takes the place of the one chosen above.
        weights: Bring your own weights (.safetensors or .pt) instead of training.
        onnx: Bring your own ONNX graph instead of training and exporting.
        refresh: Branches (PRECISION@BACKEND) to compute anew although their records are valid.
        rebuild: engines builds, measures and scores every engine anew, though their records are valid; never training.
        overrides: Fields of the profile to change; what stays blank is as in the profile.
    """
    return pipeline_body(
        {
            "profile": profile,
            "precisions": precisions,
            "backends": backends,
            "data": data,
            "profile_file": profile_file,
            "weights": weights,
            "onnx": onnx,
            "overrides": overrides.model_dump(mode="json", exclude_none=True) if overrides else None,
            "refresh": refresh,
            "rebuild": rebuild,
        }
    )


def pipeline_body(parameters: Mapping[str, Any]) -> State[Any]:
    """The flow itself, for every flow that runs it. Ends Failed so that a person sees it, with every stage kept."""
    with current_store().lease(f"run {flow_run.id}"):
        return _leased_body(parameters)


def _leased_body(parameters: Mapping[str, Any]) -> State[Any]:
    inputs = settle(**parameters, pool=placing.own_pool())
    there = placing.check(inputs)
    for text in there if "engines" in inputs.pools else unsupported(inputs.profile):
        get_run_logger().warning(text)
    run = runs.begin(str(flow_run.id), str(flow_run.name), inputs, parameters)
    work = Work(run, Ledger())
    with accounted(run):
        summary = run.finish(work.ledger, work.reported(work.attempt(work.everything)))
    publish(summary)
    if not run.retried:  # it was told at the first attempt
        tell_of_lost(lost_verdicts(summary, runs.before(run)))
    if summary["state"] == "failed":
        return Failed(message=str(summary["message"]))
    return Completed(message=str(summary["message"]))


@contextmanager
def accounted(run: runs.Run) -> Iterator[None]:
    """Close the account of a run that is stopped: by Ctrl-C, a cancel from the UI, the end of the worker."""
    try:
        yield
    except BaseException as error:
        kill_children()
        run.interrupted(f"{type(error).__name__}: {error}")
        raise


@dataclass
class Spine:
    """The records that every branch starts from."""

    ingested: Record
    splitted: Record
    frozen: Record
    calibrated: Record
    trained: Record | None
    exported: Record
    gated: Record

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Spine":
        """Of stages that all completed."""
        records = {entry.name: entry.future.result() for entry in entries}
        return cls(
            records["ingest"],
            records["split"],
            records["tensors"],
            records["calibration"],
            records.get("train"),
            records["export"],
            records["parity"],
        )


@dataclass
class Work:
    """The stages of a run, or of a part of one."""

    run: runs.Run
    ledger: Ledger
    outcomes: tuple[BranchOutcome, ...] = ()
    spine: Spine | None = None
    compared: Record | None = None
    lowered: Mapping[Precision, Entry] = field(default_factory=dict)
    looked: Mapping[str, Record | None] = field(default_factory=dict)
    ingested: Record | None = None
    handed: str | None = None

    @property
    def profile(self) -> Profile:
        return self.run.inputs.profile

    def fingerprint(self) -> str:
        """Taken on every run, because modification times prove nothing; it keys ``ingest``."""
        began = time.monotonic()
        taken = fingerprint(self.run.inputs.folder)
        self.name_by({**taken.model_dump(mode="json"), "seconds": round(time.monotonic() - began, 4)})
        return taken.digest

    def name_by(self, taken: dict[str, Any]) -> None:
        """Give the run the name that says which data it is about."""
        self.run.fingerprint = taken
        started = datetime.fromisoformat(self.run.started)
        short = taken["digest"].removeprefix("sha256:")[:8]
        self.run.name = f"{self.profile.name}-{started:%Y%m%d-%H%M%S}-{short}"
        if flow_run.flow_name != placing.PART:  # a part keeps the name that says what it is a part of
            introduce(self.run.run_id, self.run.name, {*flow_run.tags, self.profile.name})

    def attempt(self, stages: Callable[[], object]) -> CxrError | None:
        """Compute these stages; returns what stopped them as a whole, if anything did."""
        try:
            stages()
        except CxrError as error:
            return error
        except Exception as error:  # noqa: BLE001 (a bug of ours must not cost the report)
            return BranchError(f"{type(error).__name__}: {error}")
        return None

    def everything(self) -> None:
        """All stages up to the comparison, each where the profile places it."""
        pools = self.run.inputs.pools
        self.spine = self.train_there() if "train" in pools else self.shared_stages()
        reference = self.engines_there() if "engines" in pools else self.engines(self.spine)
        scored = reference.record
        if scored is None:
            raise reference.failure or CxrError("the reference scores could not be made; see the failed stages above")
        self.compared = self.ledger.do(
            compare,
            branches=list(self.outcomes),
            reference=scored,
            exported=self.spine.exported,
            splitted=self.spine.splitted,
            config=self.profile.compare,
        )
        self.looked = self.look_closer(self.spine, self.compared)

    def train_there(self) -> Spine:
        """The shared stages, computed in the pool that the profile places them in."""
        self.handed, account = placing.compute_there(self.run, "train")
        entries = self.ledger.adopt(account)
        read = account["data"]
        self.run.inputs = replace(self.run.inputs, folder=Path(read["folder"]), how=read["how"])
        self.ingested = next((entry.record for entry in entries if entry.name == "ingest"), None)
        if read["fingerprint"]:
            self.name_by(read["fingerprint"])
        self.raise_stopped(account, entries)
        return Spine.of(entries)

    def engines_there(self) -> Entry:
        """As ``engines``, computed in the pool that the profile places them in."""
        handed = self.handed or placing.hand_over(self.run, self.ledger)
        _, account = placing.compute_there(self.run, "engines", handed)
        entries = self.ledger.adopt(account)
        self.outcomes = tuple(BranchOutcome.model_validate(outcome) for outcome in account["outcomes"])
        if not self.outcomes:
            self.raise_stopped(account, entries)
        self.lowered = {e.precision: e for e in entries if e.name == "variant" and e.precision}
        return next(e for e in entries if (e.name, e.precision, e.backend) == ("accuracy", *_REFERENCE))

    def raise_stopped(self, account: Mapping[str, Any], entries: Iterable[Entry]) -> None:
        """Raise what stopped a part that was computed elsewhere, if anything did."""
        if account["state"] != "completed":
            raise next((e.failure for e in entries if e.failure), None) or BranchError(str(account["message"]))

    def shared_stages(self) -> Spine:
        """From the folder to a graph that passed the gate."""
        p, do = self.profile, self.ledger.do
        ingested = self.ingested = do(
            ingest, folder=self.run.inputs.folder, fingerprint=self.fingerprint(), config=p.data
        )
        splitted = do(split, ingested=ingested, config=p.split)
        frozen = do(
            tensors, folder=self.run.inputs.folder, ingested=ingested, splitted=splitted, config=p.tensors, data=p.data
        )
        calibrated = self.ledger.submit(calibration, frozen=frozen, config=p.calibration)
        trained, exported = self.graph(frozen)
        gate: dict[str, Any] = {"exported": exported, "frozen": frozen, "config": p.parity}
        gated = do(parity, trained=trained, **gate) if trained else do(parity_of_adopted, **gate)
        return Spine(ingested, splitted, frozen, calibrated.future.result(), trained, exported, gated)

    def graph(self, frozen: Record) -> tuple[Record | None, Record]:
        """The checkpoint (None for a graph that was brought) and the exported graph."""
        p, do, brought = self.profile, self.ledger.do, self.run.inputs
        if brought.onnx:
            return None, do(adopt_graph, graph=brought.onnx, tensors=p.tensors)
        if brought.weights:
            trained = do(
                adopt_weights,
                weights=brought.weights,
                frozen=frozen,
                config=p.train,
                filter=p.tensors.filter,
            )
        else:
            trained = do(train, frozen=frozen, config=p.train, filter=p.tensors.filter)
        return trained, do(export, trained=trained, config=p.export)

    def engines(self, spine: Spine) -> Entry:
        """Every branch, waited for; returns the stage that scored the reference of answers."""
        reference, branches = self.fan_out(spine)
        self.outcomes = tuple(branch.outcome() for branch in branches)
        return reference

    def fan_out(self, spine: Spine) -> tuple[Entry, list["_Branch"]]:
        """Every branch in parallel; the reference of answers and each backend's reference of speed come first."""
        names = dict.fromkeys([*self.profile.backends, _REFERENCE[1]])
        support = {
            (p, name): registry.backend(name).support(p)
            for p in dict.fromkeys([Precision.FP32, *self.profile.precisions])
            for name in names
        }
        able = [branch for branch, found in support.items() if found.level != "unsupported"]
        self.lowered = lowered = {p: self.lower(spine, p) for p in dict.fromkeys(p for p, _ in able)}
        references = {name: self.build(p, name, lowered) for p, name in able if p is Precision.FP32}
        reference = self.score(spine, *_REFERENCE, references[_REFERENCE[1]])
        branches = []
        for name in self.profile.backends:
            for precision in self.profile.precisions:
                if (precision, name) not in able:
                    branches.append(_Branch(precision, name, unsupported=support[precision, name].reason))
                    continue
                same = precision is Precision.FP32
                built = references[name] if same else self.build(precision, name, lowered)
                measured = self.submit(
                    benchmark,
                    precision,
                    name,
                    built=built,
                    reference=references[name],
                    frozen=spine.frozen,
                    config=self.profile.benchmark,
                    engine_config=self.profile.engine,
                )
                scored = reference if (precision, name) == _REFERENCE else self.score(spine, precision, name, built)
                branches.append(
                    _Branch(precision, name, (built, measured, scored), (lowered[precision], references[name]))
                )
        return reference, branches

    def look_closer(self, spine: Spine, compared: Record) -> dict[str, Record | None]:
        """What the profile wants to be looked at besides: by task name. One that fails costs the report that part."""
        able = registry.backend(_REFERENCE[1]).support
        graphs = {
            precision: record
            for precision, entry in self.lowered.items()
            if able(precision).level != "unsupported" and (record := entry.record)
        }
        given: dict[str, Any] = {"frozen": spine.frozen, "variants": graphs}
        wanted = {}
        if (maps := self.profile.occlusion).images:
            wanted["occlusion"] = self.ledger.submit(occlusion, compared=compared, config=maps, **given)
        if (trials := self.profile.robustness).images:
            wanted["robustness"] = self.ledger.submit(robustness, config=trials, **given)
        return {name: entry.record for name, entry in wanted.items()}

    def lower(self, spine: Spine, precision: Precision) -> Entry:
        return self.ledger.submit(
            variant,
            precision=precision,
            exported=spine.exported,
            calibrated=spine.calibrated,
            config=self.profile.variant,
        )

    def build(self, precision: Precision, backend: str, lowered: Mapping[Precision, Entry]) -> Entry:
        return self.submit(engine, precision, backend, lowered=lowered[precision], config=self.profile.engine)

    def score(self, spine: Spine, precision: Precision, backend: str, built: Entry) -> Entry:
        return self.submit(
            accuracy,
            precision,
            backend,
            built=built,
            frozen=spine.frozen,
            splitted=spine.splitted,
            exported=spine.exported,
            config=self.profile.accuracy,
            engine_config=self.profile.engine,
        )

    def submit(self, task: StageTask, precision: Precision, backend: str, **parameters: Any) -> Entry:
        asked = self.run.parameters
        again = asked.get("rebuild") == "engines" or f"{precision}@{backend}" in (asked["refresh"] or ())
        chosen = refreshed(task, self.run.since) if again else task
        return self.ledger.submit(chosen, precision=precision, backend=backend, **parameters)

    def reported(self, problem: CxrError | None) -> runs.Outcome:
        """The report, whatever happened; and what the run as a whole came to."""
        failures = [Failure.model_validate(failure) for failure in self.ledger.failures(first_line=True)]
        spine = self.spine
        record = None
        try:
            record = self.ledger.do(
                report,
                header=self.header(),
                failures=failures,
                compared=self.compared,
                trained=spine.trained if spine else None,
                gated=spine.gated if spine else None,
                frozen=spine.frozen if spine else None,
                occluded=self.looked.get("occlusion"),
                tried=self.looked.get("robustness"),
                changes=changes(self.run, self.outcomes, self.ledger.finished()) if self.compared else None,
                lowered=self.ledger.record_of("variant", Precision.INT8),
            )
        except Exception as error:  # noqa: BLE001 (the account is written whatever the report says)
            problem = problem or (error if isinstance(error, CxrError) else BranchError(f"report: {error}"))
        return runs.Outcome(record, problem, self.ledger.failures(), _missing_verdicts(self.profile, self.compared))

    def header(self) -> RunHeader:
        """What the artifacts do not say themselves. No run and no time, so that an unchanged report is a hit."""
        facts = self.ingested.facts if self.ingested else None
        data = DataFacts.model_validate({name: facts[name] for name in DataFacts.model_fields}) if facts else None
        if data:
            self.run.data = data.model_dump(mode="json")
        if not self.spine:
            return RunHeader(profile=self.profile.name, data=data)
        exported = self.spine.exported.facts
        self.run.looks_at_test = runs.looks_at_test(
            str(self.spine.splitted.facts["test_digest"]), model_identity(self.spine.exported)
        )
        return RunHeader(
            profile=self.profile.name,
            data=data,
            looks_at_test=self.run.looks_at_test,
            model=None if self.spine.trained else ModelFacts.model_validate(exported),
        )


@dataclass(frozen=True)
class _Branch:
    precision: Precision
    backend: str
    stages: tuple[Entry, Entry, Entry] | None = None
    needs: tuple[Entry, ...] = ()
    unsupported: str = ""

    def outcome(self) -> BranchOutcome:
        """Wait for the branch and say what became of it."""
        if self.stages is None:
            return BranchOutcome(
                precision=self.precision, backend=self.backend, state="unsupported", reason=self.unsupported
            )
        built, measured, scored = (entry.record for entry in self.stages)
        failed = next((entry for entry in (*self.needs, *self.stages) if entry.failure is not None), None)
        whole = built and measured and scored
        return BranchOutcome(
            precision=self.precision,
            backend=self.backend,
            state="done" if whole else "failed",
            reason=f"{failed.place} failed: {failed.failure}".splitlines()[0] if failed else "",
            built=built,
            measured=measured,
            scored=scored,
        )


def _missing_verdicts(profile: Profile, compared: Record | None) -> list[str]:
    """The verdicts that the profile demands and the comparison does not give."""
    verdicts: Mapping[str, Any] = compared.facts.get("verdicts", {}) if compared else {}  # type: ignore[assignment]
    return [
        wanted
        for wanted in profile.require
        if not any(
            verdict == "pass"
            for branch, verdict in verdicts.items()
            if branch == wanted or branch.split("@")[0] == wanted
        )
    ]
