"""The page's skeleton (Jinja). In a module, not a data file, so that the content key of the report sees it."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ 'PHANTOM: ' if phantom }}which precision may ship</title>
<style>{{ css|safe }}</style>
</head>
<body>
{% macro grid(title, head, body) -%}
<div class="scroll"><table>
{% if title %}<caption>{{ title }}</caption>{% endif %}
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for line in body %}<tr>{% for text in line %}<td>{{ text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro %}
<header>
{% if phantom %}<div class="banner large">PHANTOM DATA<br>
No patient was imaged. These figures show that the workflow runs, nothing else.</div>{% endif %}
{% if fake %}<div class="banner large">FAKE: rows marked so come from a test double</div>{% endif %}
{% for line in broken %}<div class="banner">{{ line }}</div>{% endfor %}
<h1>Which precision may ship</h1>
<p class="answer">{{ answer }}</p>
{% for line in others %}<p class="soft">{{ line }}</p>{% endfor %}
</header>
{% if cards %}<section class="cards" aria-label="verdicts">
{% for card in cards %}
<div class="card {{ card.verdict }}">
<h3><span>{{ card.precision }}</span><span class="soft">{{ card.backend }}</span></h3>
<div class="word">{{ card.sign }} {{ card.verdict }}</div><p>{{ card.reason }}</p>
{% if card.note %}<p class="soft">{{ card.note }}</p>{% endif %}</div>
{% endfor %}</section>{% endif %}
{% if table %}<h2>Decision table</h2>
<div class="scroll texts"><table>
<thead><tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for line in table %}<tr class="{{ line.verdict }}">{% for name, text in line.items() %}
<td{% if name == 'verdict' %} class="word"{% endif %}>{{ text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="soft">Ratios are to the FP32 engine of the same backend, measured in alternating rounds; figures of
different backends come from different sessions and are not divided. A blank is a figure that its count does not carry,
or that the branch did not reach.</p>{% endif %}
{% if gate %}<p>{{ gate }}</p><p>{{ power }}</p>{% endif %}
{% if paired %}<h2>Differences from the reference</h2>
<div class="figures">{{ grid('', paired_columns, paired) }}</div><p class="soft">{{ paired_words }}</p>{% endif %}
{% if resolution %}<h2>What this test split can show</h2>{{ grid('', resolution_columns, resolution) }}
<p class="soft">{{ resolution_words }}</p>{% endif %}
{% if drift %}<h2>Drift since the last green run</h2>{{ grid('', drift_columns, drift) }}
<p class="soft">Before and after, for each engine that is not the same as then. Flips: images, of those that both runs
scored, whose decision is another now.</p>{% endif %}
{% if int8 %}<h2>INT8 within its budget</h2><p>{{ int8.answer }}</p>
<div class="pair">{{ grid('Calibrators, everything quantised', int8.trial_columns, int8.calibrators) }}
{% if int8.curve %}{{ grid('Accuracy against time', int8.trial_columns, int8.curve) }}
{{ grid(int8.sensitivity_title, int8.sensitivity_columns, int8.sensitivity) }}{% endif %}</div>
<p class="soft">{{ int8.words }}</p>{% endif %}
{% if measured %}<h2>What was measured</h2>
<div class="scroll facts"><table><tbody>{% for name, text in measured %}
<tr><th scope="row">{{ name }}</th><td>{{ text }}</td></tr>{% endfor %}</tbody></table></div>{% endif %}
{% if metrics %}
<h2>The model on the test split</h2>
{{ grid('', ['', 'AUC', '95 %', 'accuracy', '95 %'], metrics) }}
<p class="soft">{{ shortcut_words }}</p>
<div class="pair">{{ grid('At the frozen threshold', ['', 'value', '95 %'], operating) }}
{{ grid('Confusion matrix of the reference, images', ['', 'called NORMAL', 'called PNEUMONIA'], confusion) }}</div>
<h2>By kind of pneumonia</h2>
{{ grid('Each kind against all normal images; figures of fewer than 20 images are hidden',
        ['kind', 'images', 'patients', 'sensitivity', '95 %', 'AUC', '95 %'], subgroups) }}{% endif %}
{% if figures %}
<h2>Figures</h2><div class="pair">
{% for figure in figures %}<figure><h3>{{ figure.title }}</h3>
{{ figure.svg|safe }}<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{% if details %}<h2>Every figure of every engine</h2>{{ grid('', detail_columns, details) }}
<p class="soft">lost: right at the reference, wrong here; gained: the other way round. Delta p: change of the
probability of pneumonia.</p>{% endif %}
{% if warnings %}<h2>Warnings about the data</h2>
<ul>{% for line in warnings %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
<footer><p><strong>Intended use.</strong> {{ intended_use }}</p></footer>
</body>
</html>
"""
