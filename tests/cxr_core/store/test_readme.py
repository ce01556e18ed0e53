import re
from pathlib import Path

README = Path(__file__).resolve().parents[3] / "cxr_core" / "store" / "README.md"


def test_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})


def test_the_readme_names_every_room_on_disk(tmp_path: Path) -> None:
    from cxr_core.store import Store

    text = README.read_text(encoding="utf-8")
    for path in Store.open(tmp_path).root.iterdir():
        assert re.search(rf"^{path.name}\b", text, re.MULTILINE), path.name
