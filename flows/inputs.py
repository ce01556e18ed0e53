"""What a run starts from, settled before anything runs: profile, data folder, and files that the user brings."""

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cxr_core import __version__
from cxr_core.code import code_digests
from cxr_core.config import PhantomConfig, Profile, load_profile
from cxr_core.data.source import find_data
from cxr_core.engines import registry
from cxr_core.errors import MachineError, UsageError
from cxr_core.refs import Precision, Ref
from flows.settings import PROFILES, PROJECT
from tasks.place import current_store

Part = Literal["train", "engines"]

ELSEWHERE = Path("elsewhere")
"""The folder of radiographs while only the machine that reads it knows."""

_GENERATED = "generated phantoms"


@dataclass(frozen=True)
class Inputs:
    """What was chosen, and where the data is and how it was found; ``pools`` are those of parts computed elsewhere."""

    profile: Profile
    folder: Path
    how: str
    store: Path
    weights: Ref | None = None
    onnx: Ref | None = None
    brought: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[Part, str] = field(default_factory=dict)

    @property
    def data(self) -> str | None:
        """What leads to the same radiographs once more; None while only another machine knows."""
        return None if self.folder == ELSEWHERE else str(self.folder)

    @property
    def phantom(self) -> bool:
        """Whether the radiographs are generated."""
        return self.how.startswith(_GENERATED)


def settle(
    profile: str = "quick",
    precisions: Sequence[Precision] | None = None,
    backends: Sequence[str] | None = None,
    data: str | None = None,
    profile_file: str | None = None,
    weights: str | None = None,
    onnx: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    refresh: Sequence[str] | None = None,
    rebuild: str = "nothing",
    pool: str | None = None,
) -> Inputs:
    """Check everything that can be checked before the first stage. ``pool`` is the work pool that the run itself is in.

    Raises:
        UsageError: an unknown profile, field, precision, backend or branch, or a file or folder that is not there.
        MachineError: the deployment was registered by another version than this worker's.
        StoreError: the store cannot be used.
    """
    _check_version()
    asked = dict(overrides or {})
    if precisions:
        asked["precisions"] = [str(p) for p in precisions]
    if backends:
        asked["backends"] = list(backends)
    file = Path(profile_file) if profile_file else PROFILES / f"{profile}.yaml"
    chosen = load_profile(file, asked)
    for name in chosen.backends:
        if registry.backend(name).fake and file.parent == PROFILES:
            raise UsageError(
                f"backend {name} is a test double; the shipped profile {profile} takes real ones: "
                f"{', '.join(n for n in registry.known_backends() if not registry.backend(n).fake)}"
            )
    _check_required(chosen)
    if rebuild not in ("nothing", "engines"):
        raise UsageError(f"rebuild: nothing or engines is expected, found {rebuild}")
    branches = {f"{p}@{b}" for p in chosen.precisions for b in chosen.backends}
    unknown = sorted(set(refresh or ()) - branches)
    if unknown:
        raise UsageError(f"refresh: no branch {', '.join(unknown)} in this run; it has {', '.join(sorted(branches))}")
    placed: dict[Part, str | None] = {"train": chosen.placement.train, "engines": chosen.placement.engines}
    return located(chosen, data, weights, onnx, {part: to for part, to in placed.items() if to and to != pool})


def located(
    profile: Profile, data: str | None, weights: str | None, onnx: str | None, pools: Mapping[Part, str]
) -> Inputs:
    """Where the radiographs are, and the user's files taken into the store; on the machine that trains.

    Raises:
        UsageError: a file or folder that is not there, or, of another machine, that is not named in full.
        StoreError: the store cannot be used.
    """
    if weights and onnx:
        raise UsageError("weights and onnx were both given; an ONNX graph holds its own weights, so name one of them")
    store = current_store().root
    given = {name: path for name, path in (("weights", weights), ("onnx", onnx)) if path}
    if "train" in pools:
        for name, path in {**given, "data": data}.items():
            if path and path != "phantom" and not Path(path).is_absolute():
                raise UsageError(f"{name}: {path} is read by the machine of pool {pools['train']}; give it in full")
        folder = Path(data) if data else ELSEWHERE
        return Inputs(profile, folder, f"read in pool {pools['train']}", store, brought=given, pools=pools)
    taken = _brought(weights, "weights", "weights"), _brought(onnx, "ONNX", "model")
    paths = {name: str(Path(path).absolute()) for name, path in given.items()}
    return Inputs(profile, *_folder(profile, data), store, *taken, paths, pools)


def unsupported(profile: Profile) -> Iterator[str]:
    """A sentence for what each backend cannot run here, told before the hours of training and not after them."""
    for name in profile.backends:
        found = {precision: registry.backend(name).support(precision) for precision in profile.precisions}
        reasons = [support.reason for support in found.values() if support.level == "unsupported"]
        for reason in dict.fromkeys(reasons):
            without = ", ".join(str(p) for p, support in found.items() if support.reason == reason)
            yield f"{name} cannot run {without} here: {reason}"


def cannot(backend: str, precision: Precision) -> str:
    """How a sentence begins that says what a machine cannot run, for whoever reads it elsewhere."""
    return f"{backend} cannot run {precision}"


def incapable() -> Iterator[str]:
    """A sentence for every backend and precision that this machine cannot run."""
    for name in registry.known_backends():
        for precision in Precision:
            support = registry.backend(name).support(precision)
            if support.level == "unsupported":
                yield f"{cannot(name, precision)}: {support.reason}"


def _check_version() -> None:
    """Its parameters and what the person saw in the form are that version's."""
    registered_by = os.environ.get("CXR_REGISTERED_BY") or __version__
    if registered_by != __version__:
        raise MachineError(
            f"this worker runs cxr {__version__} from {PROJECT}, its deployment was registered by cxr {registered_by}. "
            f"Either bring that folder to {registered_by}, or start `cxr serve` of {__version__} once: it registers "
            "the deployments anew and keeps the schedules. Then Retry; nothing was lost"
        )


def _check_required(profile: Profile) -> None:
    known = {str(p) for p in profile.precisions} | {f"{p}@{b}" for p in profile.precisions for b in profile.backends}
    for wanted in profile.require:
        if wanted not in known:
            near = difflib.get_close_matches(wanted, sorted(known), n=1)
            hint = f"did you mean {near[0]}" if near else f"there are {', '.join(sorted(known))}"
            raise UsageError(f"require: {wanted} is no precision or branch of this run; {hint}")


def _folder(profile: Profile, data: str | None) -> tuple[Path, str]:
    if data == "phantom" or (data is None and profile.source == "phantom"):
        return _phantoms(profile.phantom), f"{_GENERATED}, as asked"
    found = find_data(Path(data) if data else None, PROJECT)
    if found:
        return found.path.absolute(), found.how
    return _phantoms(profile.phantom), f"{_GENERATED}: no real data was found"


def _phantoms(config: PhantomConfig) -> Path:
    from cxr_core.data.phantom import write_phantoms

    made_of = {"config": config.model_dump(), "code": code_digests(["cxr_core.data.phantom"])}
    named = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    folder = current_store().root / "phantoms" / named
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        write_phantoms(folder, config)
    return folder


def _brought(name: str | None, what: str, stem: str) -> Ref | None:
    """A file of the user's goes into the store before the run, so that what is keyed is what is read."""
    if not name:
        return None
    path = Path(name).absolute()
    if not path.is_file():
        raise UsageError(f"no {what} file at {path}")
    # A link to a file is as good as the file; its name says what is in it.
    return current_store().put(path.resolve(), f"{stem}{path.suffix.lower()}")
