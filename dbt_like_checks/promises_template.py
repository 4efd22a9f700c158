"""The page of all promises, as a Jinja template: one file, no script, nothing fetched."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>What our tables promise</title>
<style>
:root {
  --ink: #1d2430; --soft: #5b6675; --line: #dde2e9; --paper: #ffffff; --ground: #f5f7fa; --link: #1f5fbf;
  --kept: #17703f; --broken: #b3261e; --warned: #8a5a00; --unjudged: #5b6675;
  --kept-tint: #e3f4ea; --broken-tint: #fbe6e4; --warned-tint: #fdf1d8; --unjudged-tint: #eceff3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --soft: #9aa6b5; --line: #303845; --paper: #1a2029; --ground: #12161c; --link: #7fb0ff;
    --kept: #6fd39b; --broken: #ff9a91; --warned: #f0c26a; --unjudged: #9aa6b5;
    --kept-tint: #173527; --broken-tint: #46201d; --warned-tint: #3e3013; --unjudged-tint: #262d38;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: .8rem; letter-spacing: .05em; text-transform: uppercase; color: var(--soft); margin: 1.4rem 0 .4rem; }
p { margin: .3rem 0; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.chips, nav ul { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; margin: 1rem 0; padding: 0; }
.chip { border-radius: 1rem; padding: .15rem .7rem; font-size: .9rem; white-space: nowrap; }
.kept { color: var(--kept); background: var(--kept-tint); }
.broken { color: var(--broken); background: var(--broken-tint); }
.warned { color: var(--warned); background: var(--warned-tint); }
.unjudged { color: var(--unjudged); background: var(--unjudged-tint); }
nav ul { gap: .3rem 1rem; }
nav li { font-size: .95rem; white-space: nowrap; }
.dot { display: inline-block; width: .6em; height: .6em; border-radius: 50%; margin-right: .4em;
  background: currentColor; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: .6rem; padding: 1.1rem;
  margin-top: 1.2rem; scroll-margin-top: 1rem; }
.head { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: baseline; justify-content: space-between; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-top: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-top: 0; white-space: nowrap; }
td.narrow, td.result { white-space: nowrap; }
td.wide { min-width: 14rem; }
details { margin-top: .3rem; }
summary { cursor: pointer; color: var(--link); }
details td { font: .82rem ui-monospace, monospace; white-space: nowrap; padding-right: 1rem; }
ul.plain { margin: .3rem 0; padding-left: 1.1rem; }
@media print { body { background: none; } section { break-inside: avoid; } }
</style>
</head>
<body>
<main>
<header>
<h1>What our tables promise</h1>
<p class="soft">{{ tables | length }} tables, {{ promises }} promises, {{ singular }} of them across several tables.
{%- if results %} Last checked {{ results.at }}{% if results.session %}, for session {{ results.session }}{% endif %},
over <code>{{ results.where }}</code>.{% else %} No results were given: what follows is what is promised.{% endif %}</p>
{%- if results %}
<ul class="chips" aria-label="Results">
{%- for chip in chips %}
<li class="chip {{ chip.look }}">{{ chip.count }} {{ chip.words }}</li>
{%- endfor %}
</ul>
{%- endif %}
</header>
<nav aria-label="Tables"><ul>
{%- for table in tables %}
<li><a href="#{{ table.name }}">
{%- if results %}<span class="dot" style="color: var(--{{ table.look }})" title="{{ table.told }}"></span>{% endif -%}
{{ table.name }}</a></li>
{%- endfor %}
</ul></nav>
{%- if broken %}
<section>
<h2>Broken</h2>
<ul class="plain">
{%- for row in broken %}
<li><a href="#{{ row.anchor }}">{{ row.table }}: {{ row.sentence }}</a> <span class="soft">{{ row.told }}</span></li>
{%- endfor %}
</ul>
</section>
{%- endif %}
{%- for table in tables %}
<section id="{{ table.name }}">
<div class="head"><h2>{{ table.name }}</h2>
{%- if results %}<span class="chip {{ table.look }}">{{ table.told }}</span>{% endif %}</div>
<p>{{ table.description }}</p>
<p class="soft">{{ table.grain }}, told apart by <code>{{ table.key }}</code>. {{ table.empty }}
{%- if table.kept_by %} Kept by every table named <code>{{ table.kept_by }}</code>.{% endif %}</p>
{%- if table.why %}
<p class="soft">Not judged: {{ table.why }}.</p>
{%- endif %}
<h3>Columns</h3>
<div class="scroll"><table>
<thead><tr><th>Column</th><th>Type</th><th>Unit</th><th>Meaning</th></tr></thead>
<tbody>
{%- for column in table.columns %}
<tr><td class="narrow"><code>{{ column.name }}</code></td><td class="narrow">{{ column.type }}</td>
<td>{{ column.unit }}</td><td class="wide">{{ column.meaning }}</td></tr>
{%- endfor %}
</tbody></table></div>
<h3>Promises</h3>
<div class="scroll"><table>
<thead><tr>{% if results %}<th>Result</th>{% endif %}<th>Promise</th><th>If broken</th></tr></thead>
<tbody>
{%- for row in table.promises %}
<tr id="{{ row.anchor }}">
{%- if results %}
<td class="result"><span class="chip {{ row.look }}">{{ row.verdict }}</span></td>{% endif %}
<td class="wide">{{ row.sentence }}<br><code class="soft">{{ row.name }}</code>
{%- if row.reads %}<span class="soft"> reads {{ row.reads }}</span>{% endif %}
{%- for line in row.lines %}<br><span class="soft">{{ line }}</span>{% endfor %}
{%- for sample in row.samples %}
<details><summary>{{ sample.title }}</summary>
<div class="scroll"><table>
<thead><tr>{% for name in sample.names %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for values in sample.rows %}
<tr>{% for value in values %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div></details>
{%- endfor %}</td>
<td class="soft">{{ row.consequence }}</td></tr>
{%- endfor %}
</tbody></table></div>
</section>
{%- endfor %}
{%- if left_out %}
<section><h2>Left out</h2>
<ul class="plain">
{%- for name, why in left_out.items() %}
<li><code>{{ name }}</code>: {{ why }}</li>
{%- endfor %}
</ul></section>
{%- endif %}
</main>
</body>
</html>
"""
