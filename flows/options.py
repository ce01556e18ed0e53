"""Options that many commands share, and what they do first."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows import settings

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store's folder. [env CXR_STORE; default .cxr/store]")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; logs go to standard error.")
]
RunOption = Annotated[str, typer.Option("--run", help="A run's id, or latest.")]


def use_store(store: Path | None) -> None:
    """``--store`` wins over the environment, for this process and its children."""
    if store:
        os.environ["CXR_STORE"] = str(store.absolute())
    settings.prepare()
