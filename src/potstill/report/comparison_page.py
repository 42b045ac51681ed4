"""Several artifacts side by side as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from potstill.report import words
from potstill.report.comparison import Comparison, comparison_note, comparison_tables
from potstill.report.facts import write_text

_HERE = Path(__file__).parent


def save_comparison(comparison: Comparison, path: str | Path) -> None:
    """Render the comparison and write the page, beside and renamed."""
    write_text(Path(path), render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """The page as text. Names of files and all other text are escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    task = comparison.task
    kind = f"Classification, {len(task.classes)} classes" if task.is_classification else "Regression"
    page = environment.get_template("comparison.html.j2").render(
        css=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        title=f"{len(comparison.artifacts)} artifacts side by side",
        subtitle=f"{kind}, predicting “{words.one_line(task.target, 80)}”.",
        tables=comparison_tables(comparison),
        note=comparison_note(comparison),
    )
    return page.encode("utf-8", "replace").decode("utf-8")
