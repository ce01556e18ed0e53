"""Prints the project's dependencies at their pinned versions, less those named: what the image's base brings itself,
or what the image does without.

    python3 requirements.py [NAME ...]
"""

import re
import sys
import tomllib
from pathlib import Path

here = Path.cwd()
pins = dict(line.split("==") for line in (here / "constraints.txt").read_text().splitlines() if "==" in line)
names = [
    re.split(r"[^\w-]", dependency)[0]
    for dependency in tomllib.loads((here / "pyproject.toml").read_text())["project"]["dependencies"]
]
sys.stdout.writelines(f"{name}=={pins[name]}\n" for name in names if name not in sys.argv[1:])
