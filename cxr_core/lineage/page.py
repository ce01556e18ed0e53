"""The lineage as one HTML page without network: the picture, and each stage in full below it."""

import json
from collections.abc import Collection
from typing import Any

from cxr_core.lineage import words
from cxr_core.lineage.document import place
from cxr_core.lineage.graph import Graph, Node
from cxr_core.lineage.picture import svg
from cxr_core.report.look import CSS

_MORE = """
body { max-width: none; } main, header { max-width: 76rem; margin: 0 auto; }
.picture { overflow-x: auto; margin: 1rem 0; } .picture svg { display: block; margin: 0 auto; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; font-weight: 600; } summary .soft { font-weight: 400; }
details table { margin: .5rem 0; } td { white-space: normal; overflow-wrap: anywhere; text-align: left; }
th { text-align: left; vertical-align: top; } pre { font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.gone { color: var(--bad); font-weight: 700; }
"""

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lineage of {{ title }}</title><style>{{ css | safe }}</style></head><body>
<header><h1>Where {{ title }} comes from</h1>
<p class="soft">From the X-rays at the top down to it. A stage is known by its content key: the digest over its code,
its inputs, its parameters and the versions that can change its result.</p></header>
<div class="picture">{{ picture | safe }}</div>
<main><h2>Each stage in full</h2>
{% for node in nodes %}
<details{% if loop.last %} open{% endif %}><summary>{{ node.title }} <span class="soft">{{ node.name }}</span></summary>
<table class="facts"><tbody>
{% for name, value in node.facts %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}
{% for output in node.outputs %}<tr><th>left {{ output.name }}</th><td><code>{{ output.digest }}</code>,
{{ output.size }}
{%- if not output.there %} <span class="gone">lost</span>{% endif %}</td></tr>
{% endfor %}</tbody></table>
{% if node.parts %}
<details><summary>code, inputs and parameters</summary><pre>{{ node.parts }}</pre></details>
{% endif %}
</details>
{% endfor %}</main></body></html>
"""


def html(graph: Graph, *, lost: Collection[str] = ()) -> str:
    """The page. ``lost`` as in ``picture.svg``."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    others = [node for node in graph.nodes if node.account is None]
    staged = {account.identity: graph.node(account.identity) for account in graph.accounts()}
    return environment.from_string(_TEMPLATE).render(
        title=graph.node(graph.root).title,
        css=CSS + _MORE,
        picture=svg(graph, lost=lost),
        nodes=[_facts(node, lost) for node in [*others, *staged.values()]],
    )


def _facts(node: Node, lost: Collection[str]) -> dict[str, Any]:
    account = node.account
    if account is None:
        facts = [("digest", node.digest), ("what it is", words.lost_words(node))]
        return {"title": node.title, "name": words.short(node.digest or ""), "facts": facts, "outputs": [], "parts": ""}
    record = account.record
    return {
        "title": node.title,
        "name": record.key[:12],
        "facts": [
            ("key", record.key),
            ("made", f"{words.made(account)} ({account.when_from})"),
            ("where", ", ".join(f"{name} {value}" for name, value in place(record).items())),
            ("code", words.code(account)),
            ("differs from the defaults", words.parameters(account)),
        ],
        "outputs": [
            {"name": name, "digest": ref.digest, "size": words.size(ref), "there": ref.digest not in lost}
            for name, ref in record.outputs.items()
        ],
        "parts": json.dumps(record.parts, indent=1),
    }
