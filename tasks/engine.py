"""engine: a variant compiled by one backend for this device."""

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines import registry
from cxr_core.refs import Precision, Record
from tasks.place import store_root
from tasks.stage import Arguments, Unkeyed, bare, stage


def backend_room(arguments: Arguments) -> tuple[str, ...]:
    """The chosen backend's code is part of the key, the other backends' is not."""
    return (registry.room(bare(arguments["backend"])),)


def backend_machine(arguments: Arguments) -> dict[str, JsonValue]:
    """What of this machine changes what the backend builds or how it runs."""
    return dict(registry.backend(bare(arguments["backend"])).environment())


def backend_devices(arguments: Arguments) -> tuple[str, ...]:
    """The devices that the backend may compute on."""
    return registry.backend(bare(arguments["backend"])).devices()


@stage(
    "engine",
    core="cxr_core.engines.engine:engine",
    packages=("numpy",),
    rooms=backend_room,
    machine=backend_machine,
    devices=backend_devices,
    shown_every=1.0,
)
def engine(precision: Precision, backend: str, lowered: Record, config: EngineConfig) -> Arguments:
    return {
        "graph": lowered.output("variant.onnx"),
        "precision": precision,
        "backend": backend,
        "config": config,
        # What builds leave for later ones; an engine is bound to its own digest anyway, as two builds may differ.
        "cache": Unkeyed(store_root() / "cache" / backend),
    }
