"""A report: one page from what several commands found out, summary first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from html import escape

from profiler.tables.check import Checked
from profiler.tables.lint import lint
from profiler.tables.suspicions import ERROR
from profiler.tables.table import LatencyTable
from reports import charts, html, report_breakdowns, report_networks, report_operators, runs, trust
from reports.html import Section
from reports.runs import Run

TITLE = "Latency report"


def render(found: Sequence[Run], title: str = "", force: bool = False) -> str:
    """The page of these runs. Raises UsageError on several machines unless `force`, and
    MissingPackage without the library that draws."""
    machines = runs.require_one_machine(found, force)
    sections = [
        MAKERS[run.kind](run, f"{run.kind.replace(' ', '-')}-{number}")
        for number, run in enumerate(found, 1)
    ]
    order = sorted(range(len(found)), key=lambda i: list(MAKERS).index(found[i].kind))
    pairs = [(found[i], sections[i]) for i in order]
    body = "\n".join(
        [
            _summary(title or TITLE, pairs, machines),
            *(_section(run, section, bool(machines)) for run, section in pairs),
            _failures(found),
            _method(found),
        ]
    )
    return html.page(title or TITLE, body, (charts.library(), html.behaviour()))


def _summary(title: str, pairs: Sequence[tuple[Run, Section]], machines: Sequence[str]) -> str:
    warning = ""
    if machines:
        shown = "; ".join(machines)
        warning = f"""<p class="warning">{len(machines)} MACHINES: {escape(shown)}. Latencies of
different machines are not comparable; each part says where it was taken.</p>"""
    items = "\n".join(
        f'<li>{" ".join(s.answers)} <a href="#{s.anchor}">{escape(s.question)}</a></li>'
        for _, s in pairs
    )
    links = [(s.anchor, s.question) for _, s in pairs] + [("method", "Environment and method")]
    return f"""<header>
<h1>{escape(title)}</h1>
{warning}
<ul>
{items}
</ul>
{html.navigation(links)}
</header>"""


def _section(run: Run, section: Section, marked: bool) -> str:
    where = f"; {runs.machine(run) or 'a machine that it does not tell'}" if marked else ""
    created = f"; {run.created}" if run.created else ""
    return f"""<section id="{section.anchor}">
<h2>{escape(section.question)}</h2>
<p class="note">{escape(f"{run.kind}: {run.path.name}{created}{where}")}</p>
{section.body}
</section>"""


# Tables -----------------------------------------------------------------------------------------


def _table(run: Run, anchor: str) -> Section:
    table: LatencyTable = run.content
    findings = lint(run.path)
    errors = sum(f.severity == ERROR for f in findings)
    rows = [[f.severity, f.rule, f.key, f.message] for f in findings]
    wrong = html.data_table(
        "What is wrong with the table", ("severity", "rule", "entry", "message"), rows
    )
    closure = table.closure
    answers = ["No network was measured against the table: its error is not known."]
    if closure:
        answers = [
            f"{escape(table.space)} predicts unseen networks to "
            f"<strong>{closure.mape_percent:.2f} %</strong> on average, "
            f"{closure.max_percent:.2f} % at the worst."
        ]
    if errors:
        answers.append(f'<span class="bad">{errors} entries must not be used.</span>')
    page = shlex.join(["opclock", "table", "page", run.path.name, "-o", "table.html"])
    body = f"""{trust.closure_figures(closure)}
{trust.pictures(trust.roled(table), run.command)}
{wrong or "<p>Lint finds nothing wrong in its entries.</p>"}
{html.facts(trust.table_facts(table))}
<p>The whole table, block by block, is a page of its own:</p>
{html.again(page)}"""
    return Section(anchor, "Can the table be trusted?", tuple(answers), body)


def _check(run: Run, anchor: str) -> Section:
    checked: Checked = run.content
    said = (
        f"Checked on {checked.figures.networks} networks, it predicts to "
        f"<strong>{checked.figures.mape_percent:.2f} %</strong> on average; "
        f"the machine's speed is {checked.speed:.3f} of what it was."
    )
    flags = "".join(f'<p class="bad">{escape(f)}</p>' for f in checked.flags)
    body = f"""{flags}{trust.figures_of(checked.figures)}
{trust.pictures([(trust.CHECKED, n) for n in checked.networks], run.command)}"""
    return Section(anchor, "Does the table still hold?", (said,), body)


# In the order of the page.
MAKERS: dict[str, Callable[[Run, str], Section]] = {
    "comparison": report_networks.comparison,
    "measurement": report_networks.measurement,
    "breakdown": report_breakdowns.breakdown,
    "observations": report_operators.observations,
    "bench": report_operators.bench,
    "table": _table,
    "table check": _check,
}


# The end ----------------------------------------------------------------------------------------


def _failures(found: Sequence[Run]) -> str:
    shown = trust.failures(line for run in found for line in run.failures)
    return f"<section>\n<h2>What could not be measured</h2>\n{shown}\n</section>" if shown else ""


def _method(found: Sequence[Run]) -> str:
    commands = "\n".join(_source(run) for run in found)
    described = {html.environment(r.environment): None for r in found if r.environment}
    tables = [r for r in found if r.kind == "table"]
    method = f"<h3>Tables</h3>\n{trust.method(tables[0].content)}" if tables else ""
    names = [run.path.name for run in found]
    whole = shlex.join(["opclock", "report", *names, "-o", "report.html"])
    return f"""<section id="method">
<h2>Environment and method</h2>
<ol>
<li>A round is a fresh process. Workloads are visited in shuffled order; the latency is the median
of the medians of the rounds that nothing disturbed.</li>
<li>Intervals are of 95 %: order statistics of the rounds' medians. Ratios pair what was timed in
one lap or one process.</li>
<li>A verdict of several comparisons is corrected for their number (Holm).</li>
<li>Rows of a breakdown are brought to the latency without profiler, and close to it.</li>
</ol>
{method}
{"".join(described)}
<h3>Where the figures come from</h3>
{commands}
<p>This page:</p>
{html.again(whole)}
</section>"""


def _source(run: Run) -> str:
    how = "as it was typed" if run.recorded else "made up from what the file holds"
    where = runs.machine(run)
    text = f"{run.path.name}: {run.kind}" + (f", on {where}" if where else "")
    return f"<p>{escape(text)}; the command {how}:</p>\n{html.again(run.command)}"
