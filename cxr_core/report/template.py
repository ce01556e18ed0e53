"""The page's skeleton (Jinja). In a module, not a data file, so that the content key of the report sees it."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<title>{{ 'PHANTOM: ' if phantom }}which precision may ship</title>
<style>{{ css|safe }}</style>
</head>
<body>
{% macro heading(id, title) -%}
<h2 id="{{ id }}">{{ title }}</h2>
{%- endmacro %}
{% macro grid(title, head, body, name='') -%}
<div class="scroll" role="region" tabindex="0" aria-label="{{ name or title }}"><table>
{% if title %}<caption>{{ title }}</caption>{% endif %}
<thead><tr>{% for name in head %}{% if name %}<th scope="col">{{ name }}</th>{% else %}<td></td>{% endif %}
{% endfor %}</tr></thead>
<tbody>{% for line in body %}<tr>{% for text in line %}
{% if loop.first and text %}<th scope="row">{{ text }}</th>{% else %}<td>{{ text }}</td>{% endif %}
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro %}
{% macro pictures(cases) -%}
<div class="cases">{% for case in cases %}
<figure class="case{{ ' mapped' if case.maps }}"><div class="views">
<img src="{{ case.picture }}" alt="{{ case.alternative }}">
{% for map in case.maps %}
<div><img src="{{ map.picture }}" alt="{{ map.alternative }}"><span>{{ map.name }}</span></div>
{% endfor %}</div>
<figcaption><strong>is {{ case.truth }}</strong>
<span>{{ '\u2713' if case.right else '\u2717' }} FP32 reference: {{ case.reference }}, {{ case.said }}</span>
{% for other in case.others %}
<span class="otherwise">\u2260 {{ other.name }}: {{ other.probability }}, {{ other.said }}</span>
{% endfor %}
{% if case.agreeing %}<span>as the reference: {{ case.agreeing }}
engine{{ '' if case.agreeing == 1 else 's' }}</span>{% endif %}
<span class="soft">{{ case.file }}</span></figcaption></figure>
{% endfor %}</div>
{%- endmacro %}
<header>
{% if phantom %}<div class="banner large">PHANTOM DATA<br>
No patient was imaged. These figures show that the workflow runs, nothing else.</div>{% endif %}
{% if fake %}<div class="banner large">FAKE: rows marked so come from a test double</div>{% endif %}
{% for line in broken %}<div class="banner">{{ line }}</div>{% endfor %}
<h1>Which precision may ship</h1>
<p class="answer">{{ answer }}</p>
{% for line in others %}<p class="soft">{{ line }}</p>{% endfor %}
<nav aria-label="sections"><ul>
{% for id, title, there in sections if there %}<li><a href="#{{ id }}">{{ title }}</a></li>
{% endfor %}</ul></nav>
</header>
<main>
{% if cards %}{{ heading('verdicts', 'Verdicts') }}
<div class="cards">
{% for card in cards %}
<div class="card {{ card.verdict }}">
<h3><span>{{ card.precision }}</span> <span class="soft">{{ card.backend }}</span></h3>
<div class="word">{{ card.sign }} {{ card.verdict }}</div><p>{{ card.reason }}</p>
{% if card.note %}<p class="soft">{{ card.note }}</p>{% endif %}</div>
{% endfor %}</div>{% endif %}
{% if table %}{{ heading('table', 'Decision table') }}
<div class="scroll texts" role="region" tabindex="0" aria-label="Decision table"><table>
<thead><tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for line in table %}<tr class="{{ line.verdict }}">{% for name, text in line.items() %}
{% if loop.first %}<th scope="row">{{ text }}</th>{% else %}
<td{% if name == 'verdict' %} class="word"{% endif %}>{{ text }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="soft">Ratios are to the FP32 engine of the same backend, measured in alternating rounds; figures of
different backends come from different sessions and are not divided. Intervals of accuracy are by patients, as images
of one patient are not independent. A blank is a figure that its count does not carry,
or that the branch did not reach.</p>{% endif %}
{% if gate %}<p>{{ gate }}</p><p>{{ power }}</p>{% endif %}
{% if limits %}{{ heading('limits', 'What this does not show') }}
<ul>{% for what, why in limits %}<li><strong>{{ what }}:</strong> {{ why }}</li>{% endfor %}</ul>{% endif %}
{% if paired %}{{ heading('differences', 'Differences from the reference') }}
<div class="figures">{{ grid('', paired_columns, paired, 'Differences from the reference') }}</div>
<p class="soft">{{ paired_words }}</p>{% endif %}
{% if resolution %}{{ heading('resolution', 'What this test split can show') }}
{{ grid('', resolution_columns, resolution, 'What this test split can show') }}
<p class="soft">{{ resolution_words }}</p>{% endif %}
{% if drift %}{{ heading('drift', 'Drift since the last green run') }}{{ grid('', drift_columns, drift, 'Drift') }}
<p class="soft">Before and after, for each engine that is not the same as then. Flips: images, of those that both runs
scored, whose decision is another now.</p>{% endif %}
{% if int8 %}{{ heading('int8', 'INT8 within its budget') }}<p>{{ int8.answer }}</p>
<div class="stacks">{{ grid('Calibrators, everything quantised', int8.calibrator_columns, int8.calibrators) }}
{% if int8.sizes %}{{ grid('The chosen graph by fewer images', int8.size_columns, int8.sizes) }}{% endif %}
{% if int8.curve %}{{ grid('Accuracy against time', int8.trial_columns, int8.curve) }}{% endif %}
{% if int8.sensitivity %}{{ grid(int8.sensitivity_title, int8.sensitivity_columns, int8.sensitivity) }}
{% endif %}</div>
<p class="soft">{{ int8.words }}</p>{% endif %}
{% if figures %}{{ heading('figures', 'Figures') }}
<p class="soft screen">Point at a figure, tap it, or step through it with the arrow keys to read its values.</p>
<div class="pair">
{% for figure in figures %}<figure><h3>{{ figure.title }}</h3>
{{ figure.svg|safe }}<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{% if cases %}{{ heading('disagreements', 'Images on which the precisions disagree') }}
{% if disagreeing %}<p>On {{ disagreeing }} of {{ images }} test images at least one engine decides otherwise than the
FP32 reference{{ ', largest change of the probability first' if disagreements else '' }}
{{- '; the first ' ~ disagreements|length if disagreements and disagreements|length < disagreeing }}.</p>
{{ pictures(disagreements) }}
{% if mapped %}<p class="soft">Colour, FP32 beside the precision that decides otherwise: how much of the probability of
pneumonia is lost where a grey patch covers the picture (orange) or gained (blue), in one scale for both. The graphs
answered under ONNX Runtime, not the engines. It shows what an answer hangs on, not whether that is right.</p>
{% endif %}
{% else %}<p>None: every engine decides as the FP32 reference does on all {{ images }} test images.</p>{% endif %}
{{ heading('worst', 'Worst errors') }}
{% if errors %}<p>The reference is wrong on {{ errors }} of {{ images }} test images
{{- ', the surest first' if worst }}{{ '; the first ' ~ worst|length if worst and worst|length < errors }}.</p>
{{ pictures(worst) }}
{% else %}<p>None: the reference is right on all {{ images }} test images.</p>{% endif %}
<p class="soft">
{% if pictured %}Pictures are as the network gets them: grey, squeezed to a square. Numbers are probabilities of
pneumonia; {{ threshold }} or more is called so.
{% else %}This copy of the report holds no radiograph.{% endif %}</p>{% endif %}
{% if measured %}{{ heading('measured', 'What was measured') }}
<div class="scroll facts" role="region" tabindex="0" aria-label="What was measured"><table><tbody>
{% for name, text in measured %}
<tr><th scope="row">{{ name }}</th><td>{{ text }}</td></tr>{% endfor %}</tbody></table></div>{% endif %}
{% if metrics %}
{{ heading('model', 'The model on the test split') }}
{{ grid('', ['', 'AUC', '95 %', 'accuracy', '95 %'], metrics, 'The model on the test split') }}
<p class="soft">{{ shortcut_words }}</p>
<div class="pair">{{ grid('At the frozen threshold', ['', 'value', '95 %'], operating) }}
{{ grid('Confusion matrix of the reference, images', ['', 'called NORMAL', 'called PNEUMONIA'], confusion) }}</div>
{{ heading('kinds', 'By kind of pneumonia') }}
{{ grid('Each kind against all normal images; figures of fewer than 20 images are hidden',
        ['kind', 'images', 'patients', 'sensitivity', '95 %', 'AUC', '95 %'], subgroups) }}{% endif %}
{% if details %}{{ heading('engines', 'Every figure of every engine') }}
{{ grid('', detail_columns, details, 'Every figure of every engine') }}
<p class="soft">lost: right at the reference, wrong here; gained: the other way round. Delta p: change of the
probability of pneumonia.</p>{% endif %}
{% if warnings %}{{ heading('warnings', 'Warnings about the data') }}
<ul>{% for line in warnings %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}
</main>
<footer><p><strong>Intended use.</strong> {{ intended_use }}</p></footer>
<script>{{ script|safe }}</script>
</body>
</html>
"""
