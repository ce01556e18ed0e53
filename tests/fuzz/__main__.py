"""``make fuzz``: every reader under atheris, which is led by coverage. Needs the extra ``fuzz``.

``python -m tests.fuzz --seconds 20`` gives each reader so long and prints how many inputs it took; ``--json FILE``
keeps the figures. A reader that does anything but read or refuse ends it with status 1, and the input is kept.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAMES_OPTION = "--only"
MEGABYTES = 1024  # of memory that one reader may use
PATIENCE = 10  # seconds that one input may take


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=20, help="for each reader")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="folder for inputs that broke a reader")
    parser.add_argument(NAMES_OPTION, help="one reader")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        fuzz(chosen.only, chosen.child, chosen.seconds, chosen.found)
    from tests.fuzz.readers import readers

    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        names = [chosen.only] if chosen.only else list(readers(Path(name)))
    found = {one: _watched(one, chosen) for one in names}
    total = sum(figures["inputs"] for figures in found.values())
    broken = [one for one, figures in found.items() if figures["broken"]]
    sys.stdout.write(f"{total:,} inputs, {len(names)} readers, broken: {', '.join(broken) or 'none'}\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(_account(found, total, chosen.seconds), indent=1) + "\n", encoding="utf-8")
    return 1 if broken else 0


def _watched(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Each in a process of its own: the fuzzer ends the process it runs in."""
    chosen.found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        command = [
            sys.executable, "-m", "tests.fuzz", NAMES_OPTION, name, "--child", folder,
            "--seconds", str(chosen.seconds), "--found", str(chosen.found.absolute()),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    told = re.findall(r"#([0-9]+)\s.*cov: ([0-9]+)", done.stderr)
    inputs = re.search(r"Done ([0-9]+) runs in ([0-9]+) second", done.stderr)
    figures = {
        "inputs": int(inputs[1]) if inputs else int(told[-1][0]) if told else 0,
        "seconds": int(inputs[2]) if inputs else chosen.seconds,
        "coverage": int(told[-1][1]) if told else 0,
        "broken": done.returncode != 0,
    }
    sys.stdout.write(f"{name}: {figures['inputs']:,} inputs in {figures['seconds']} s\n")
    if figures["broken"]:
        sys.stdout.write(done.stderr[-4000:] + "\n")
    sys.stdout.flush()
    return figures


def fuzz(name: str, folder: Path, seconds: int, found: Path) -> None:
    """Never returns."""
    import atheris

    with atheris.instrument_imports(include=["cxr_core"]):
        from tests.fuzz.readers import readers
    work, seeds = folder / "work", folder / "seeds"
    work.mkdir()
    reader = readers(work)[name]

    seeds.mkdir()
    for number, data in enumerate(reader.valid):
        (seeds / str(number)).write_bytes(data)

    def once(data: bytes) -> None:
        with suppress(*reader.refuses):
            reader.read(data)

    options = [
        f"-max_total_time={seconds}", f"-rss_limit_mb={MEGABYTES}", f"-timeout={PATIENCE}", "-use_value_profile=1",
        f"-max_len={4 * max(map(len, reader.valid)) + 64}", f"-artifact_prefix={found}/{name.replace(' ', '-')}-",
        "-print_final_stats=1", str(seeds),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


def _account(found: dict[str, dict[str, Any]], total: int, seconds: int) -> dict[str, Any]:
    return {
        "command": f"make fuzz FUZZ_SECONDS={seconds}",
        "what": "inputs that each reader took; it read or refused every one. Edges of Python code covered",
        "when": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "atheris": version("atheris"),
        "cpus": os.cpu_count(),
        "inputs": total,
        "readers": found,
    }


def _memory() -> Path | None:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else None


if __name__ == "__main__":
    sys.exit(main())
