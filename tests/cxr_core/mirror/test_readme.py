import re
import shlex
from pathlib import Path
from typing import Any

from flows.cli import app
from tests.conftest import PROJECT

README = PROJECT / "cxr_core" / "mirror" / "README.md"
PAGE = PROJECT / "docs" / "mirror.md"


def test_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})


def test_the_pages_links_lead_somewhere() -> None:
    for page in (README, PAGE):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert Path(page.parent, target).exists(), target


def test_the_pages_commands_are_commands() -> None:
    import typer

    text = "".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    lines = [shlex.split(line.split("#")[0]) for line in text.splitlines()]
    for words in (words[words.index("cxr") + 1 :] for words in lines):
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command.name != "cxr", words
        assert {word for word in words if word.startswith("--")} <= {o for p in command.params for o in p.opts}
