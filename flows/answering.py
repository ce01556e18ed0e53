"""The one JSON document that a command with ``--json`` prints."""

import json
import sys
from typing import Any


def answer(document: Any) -> None:
    """Print it on standard output, where nothing else goes."""
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
