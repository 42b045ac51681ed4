"""The report: one self-contained HTML page, and the summary as rows.

facts.py    what the page is told, as JSON
verdict.py  what the numbers say, in words
contenders.py  the models that are compared, one row each
tables.py, picture.py, curves.py, dots.py, frontier.py  the parts of the page
svg.py      matplotlib figures as inline SVG in the page's colours
render.py   all of it, with template.html.j2 and style.css
pick.js     shows the facts of a Pareto point that is chosen; the page is whole without it
summary.py  the same summary for terminals
comparison.py, comparison_page.py  several artifacts side by side
"""

from potstill.report.facts import CandidateFacts, ColumnFacts, ModelFacts, ReportFacts, load_facts, save_facts
from potstill.report.render import render, save_report
from potstill.report.summary import SummaryRow, summary_rows
from potstill.report.verdict import verdict

__all__ = [
    "CandidateFacts",
    "ColumnFacts",
    "ModelFacts",
    "ReportFacts",
    "SummaryRow",
    "load_facts",
    "render",
    "save_facts",
    "save_report",
    "summary_rows",
    "verdict",
]
