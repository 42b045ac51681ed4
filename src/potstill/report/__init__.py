"""The report: one self-contained HTML page, and the summary as rows.

facts.py    what the page is told, as JSON
verdict.py  what the numbers say, in words
tables.py, picture.py, curves.py, dots.py  the parts of the page
svg.py      matplotlib figures as inline SVG in the page's colours
render.py   all of it, with template.html.j2 and style.css
summary.py  the same summary for terminals
"""

from potstill.report.facts import CandidateFacts, ModelFacts, ReportFacts, load_facts, save_facts
from potstill.report.render import render, save_report
from potstill.report.summary import SummaryRow, summary_rows
from potstill.report.verdict import verdict

__all__ = [
    "CandidateFacts",
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
