"""``make bench``: every ratio, printed as a table and written to ``docs/results/``.

python -m benchmarks [NAME ...] [--rounds N]

Where ``CXR_BENCH_PROFILE`` names a profile, or a YAML file, the result's name ends with that name.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import agreement, cached_run, evaluation, int8, mirror, nights, retry, store, timm_train, training
from benchmarks.pairs import Beside, Growth, Paired

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
ALL: dict[str, Callable[[int], Sequence[Paired | Growth | Beside]]] = {
    "agreement": agreement.measure,
    "cached_run": cached_run.measure,
    "evaluation": evaluation.measure,
    "int8": int8.measure,
    "mirror": mirror.measure,
    "nights": nights.measure,
    "retry": retry.measure,
    "store": store.measure,
    "timm_train": timm_train.measure,
    "training": training.measure,
}
# Their other side is a file that no package has.
BY_NAME_ONLY = {"timm_train"}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        default=[name for name in ALL if name not in BY_NAME_ONLY],
        metavar="NAME",
        help=", ".join(ALL),
    )
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    found = [pair for name in chosen.names for pair in ALL[name](chosen.rounds)]
    table = Table("what", "ours", "other side", "ratio: median [min, max]", "target", "rounds")
    for pair in found:
        table.add_row(*pair.row())
    Console(width=150).print(f"{processor()}", table, highlight=False)
    RESULTS.mkdir(parents=True, exist_ok=True)
    of = f"-{Path(asked).stem}" if (asked := os.environ.get("CXR_BENCH_PROFILE")) else ""
    for name in chosen.names:
        (RESULTS / f"bench-{name}{of}.json").write_text(
            json.dumps(
                {
                    "processor": processor(),
                    "python": platform.python_version(),
                    "pairs": [pair.plain() for pair in found if pair.bench == name],
                },
                indent=1,
            )
            + "\n",
            encoding="utf-8",
        )


def processor() -> str:
    """The processor's own name, and how many there are."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()
