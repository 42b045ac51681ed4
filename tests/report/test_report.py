"""The page: whole, self-contained, escaped, the same each time, honest."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeClassifier

from potstill.errors import UserError
from potstill.evaluation import Interval, Recovered, gather
from potstill.report import (
    CandidateFacts,
    ColumnFacts,
    ModelFacts,
    ReportFacts,
    load_facts,
    render,
    save_facts,
    save_report,
    summary_rows,
    verdict,
)
from potstill.types import Budget, Latency, Task

VOID = {"meta", "br", "img", "input", "link", "hr"}
HOSTILE = "<script>alert('x')</script> & $x_1$ \"q\"\n\x07"


class Page(HTMLParser):
    """Checks nesting while it reads; keeps ids, tags, references and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def _note(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def extras(task, score):
    models = {
        "teacher": ModelFacts("30 trees", 12_900_000, Latency(2_100.0, 4_000.0), 21_000.0, 4.6e-5),
        "best_member": ModelFacts("one tree", 90_000, Latency(300.0, 400.0), 90_000.0, 1e-5),
        "twin": ModelFacts("tree", 4_000, Latency(14.0, 30.0), 400_000.0, 2.4e-6),
        "student": ModelFacts("tree", 5_000, Latency(14.0, 31.0), 400_000.0, 2.4e-6),
    }
    candidates = (
        CandidateFacts(
            "tree ×1", 0.3, 5_000, Latency(14.0, 31.0), pareto=True, chosen=True, score=score, number=1
        ),
        CandidateFacts(
            "tree ×0.5", 0.4, 3_000, Latency(11.0, 25.0), pareto=True, score=score - 0.05, number=2
        ),
        CandidateFacts("never exported", 0.5),
    )
    return {
        "models": models,
        "candidates": candidates,
        "rows": {"train": 300, "test": 200},
        "soft_targets": {"Soft targets": "out of fold, 5 folds"},
        "seconds": {"teacher": 75.0, "search": 12.3},
        "card": {"Seed": "0", "Data hash": "3f7a"},
        "warnings": ("One column was dropped: id (identifier-like).",),
    }


def classification_facts(load=load_breast_cancer, n_columns=4):
    data = load()
    half = len(data.target) // 2
    fitted = {
        "teacher": RandomForestClassifier(30, random_state=0),
        "best_member": DecisionTreeClassifier(max_depth=5, random_state=2),
        "twin": DecisionTreeClassifier(max_depth=2, random_state=0),
        "student": DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=1),
    }
    outputs = {
        name: model.fit(data.data[:half], data.target[:half]).predict_proba(data.data[half:])
        for name, model in fitted.items()
    }
    names = [str(name) for name in data.feature_names[:n_columns]]
    columns = {name: data.data[half:, i] for i, name in enumerate(names)}
    classes = tuple(str(name) for name in data.target_names)
    task = Task("binary" if len(classes) == 2 else "multiclass", "diagnosis", classes)
    evidence = gather(outputs, data.target[half:], task, columns=columns, n_resamples=200)
    score = evidence.scores["student"]["accuracy"]
    return ReportFacts("Breast cancer", task, evidence, **extras(task, score))


def regression_facts():
    data = load_diabetes()
    fitted = {
        "teacher": RandomForestRegressor(20, random_state=0),
        "twin": Ridge(10.0),
        "student": Ridge(0.1),
    }
    outputs = {
        name: model.fit(data.data[:250], data.target[:250]).predict(data.data[250:]).reshape(-1, 1)
        for name, model in fitted.items()
    }
    columns = {"bmi": data.data[250:, 2], "bp": data.data[250:, 3]}
    task = Task("regression", "progression")
    evidence = gather(outputs, data.target[250:], task, columns=columns, n_resamples=200)
    return ReportFacts("Diabetes", task, evidence, **extras(task, evidence.scores["student"]["r2"]))


@pytest.fixture(scope="module")
def binary():
    return classification_facts()


@pytest.fixture(scope="module")
def regression():
    return regression_facts()


@pytest.fixture(scope="module")
def binary_html(binary):
    return render(binary)


@pytest.fixture(scope="module")
def regression_html(regression):
    return render(regression)


def bare(facts):
    """The same facts with next to nothing to draw."""
    evidence = msgspec.structs.replace(facts.evidence, reliability={}, per_class=(), slices=())
    return msgspec.structs.replace(facts, evidence=evidence, candidates=(), models={})


def with_gap(facts, *, edge=(0.1, 0.05, 0.15), gain=(0.05, 0.02, 0.08), value=0.5):
    gap = Recovered(value, 0.2, 0.8, edge[1] <= 0.0, Interval(*edge), Interval(*gain))
    evidence = msgspec.structs.replace(facts.evidence, n_rows=1000, gap_recovered={"log_loss": gap})
    return msgspec.structs.replace(facts, evidence=evidence)


def test_the_page_of_a_binary_task_has_all_sections_in_order(binary_html):
    page = Page(binary_html)
    sections = [
        *("summary", "scores", "reliability", "parts", "operating"),
        *("disagreements", "cost", "candidates", "card"),
    ]
    assert [each for each in page.ids if each in sections] == sections
    assert page.tags.count("svg") > 8
    for said in (
        "Breast cancer",
        "Gap recovered",
        "malignant",
        "One column was dropped",
        "1 min 15 s",
        "3f7a",
    ):
        assert said in page.text


def test_the_page_of_a_regression_shows_values_instead_of_probabilities(regression_html):
    page = Page(regression_html)
    assert [each for each in page.ids if each in {"reliability", "residuals", "operating"}] == ["residuals"]
    assert "RMSE" in page.text
    assert "Log-loss" not in page.text
    assert "Residuals of the student" in page.text


def test_many_classes_do_not_make_many_lines():
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 100
    outputs = {}
    for model, strength in (("teacher", 5.0), ("twin", 3.0), ("student", 4.0)):
        logits = rng.normal(size=(3000, 100))
        logits[np.arange(3000), labels] += strength
        probs = np.exp(logits)
        outputs[model] = probs / probs.sum(axis=1, keepdims=True)
    task = Task("multiclass", "y", tuple(f"class {k}" for k in range(100)))
    html = render(ReportFacts("Many", task, gather(outputs, labels, task, n_resamples=50)))
    page = Page(html)
    assert "The 30 of 100 classes where the student is furthest below the teacher." in page.text
    assert len(html) < 500_000


def test_ten_classes_are_all_drawn():
    page = Page(render(classification_facts(load_digits, n_columns=2)))
    assert "All classes. Recall" in page.text
    assert "operating" not in page.ids


def test_the_page_loads_nothing(binary_html, regression_html):
    for html in (binary_html, regression_html):
        page = Page(html)
        assert "http" not in re.sub(r"http-equiv", "", html)
        assert not {"link", "img", "iframe", "image"} & set(page.tags)
        assert page.tags.count("script") == 1
        script = html[html.index("<script>") + 8 : html.index("</script>")]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert (
            f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
            in html
        )
        assert not {"fetch", "XMLHttpRequest", "import", "innerHTML"} & set(re.findall(r"\w+", script))
        for name, value in page.attributes:
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href"}:
                assert value.startswith("#")
        assert not re.search(r"url\((?!#)|@import|@font-face", html)


def test_ids_are_unique_and_references_end_somewhere(binary_html):
    page = Page(binary_html)
    assert len(page.ids) == len(set(page.ids))
    pointed = set(re.findall(r'(?:href="|url\()#([\w.-]+)', binary_html))
    assert pointed
    assert pointed <= set(page.ids)
    for name, value in page.attributes:
        if name == "aria-labelledby":
            assert set(value.split()) <= set(page.ids)


def test_charts_follow_the_page_colours_and_font(binary_html):
    html = binary_html
    body = html[html.index("<body>") :]
    assert not re.search(r"#[0-9a-f]{6}", body)
    assert "font-family" not in body
    used = set(re.findall(r"var\(--([\w-]+)\)", html))
    assert used <= set(re.findall(r"--([\w-]+):", html))
    assert {"teacher", "best-member", "twin", "student"} <= used


def test_hostile_names_are_text(binary):
    labels = np.arange(200) % 3
    rng = np.random.default_rng(0)
    outputs = {model: rng.dirichlet(np.ones(3), size=200) for model in ("teacher", "twin", "student")}
    columns = {
        HOSTILE: rng.normal(size=200),
        "</style><b>": np.array([HOSTILE, None] * 100, dtype=object),
        "lone \ud800": np.array(["http://example.org/x.png"] * 200, dtype=object),
    }
    task = Task("multiclass", HOSTILE, (HOSTILE, "</svg><script>", "c"))
    facts = ReportFacts(
        HOSTILE,
        task,
        gather(outputs, labels, task, columns=columns, n_resamples=50),
        models={"student": ModelFacts(HOSTILE, 10, Latency(1.0, 2.0))},
        candidates=tuple(
            CandidateFacts(HOSTILE, 0.1, 1, Latency(1.0, 1.0), True, True, None, i) for i in (1, 2)
        ),
        rows={HOSTILE: 1},
        soft_targets={HOSTILE: HOSTILE},
        seconds={HOSTILE: 1.0},
        card={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
    )
    html = render(facts)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "b" in page.tags
    assert html.count("<style>") == html.count("</style>") == 1
    assert "<script>alert('x')</script> & $x_1$" in page.text
    html.encode("utf-8")


def test_the_same_facts_make_the_same_page(binary, binary_html, regression, regression_html):
    assert render(binary) == binary_html
    assert render(regression) == regression_html


def test_the_page_is_small(binary_html, regression_html):
    assert len(binary_html.encode()) < 400_000
    assert len(regression_html.encode()) < 600_000


def test_drawing_leaves_the_callers_matplotlib_alone(binary):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render(msgspec.structs.replace(bare(binary), models=binary.models))
    assert dict(mpl.rcParams) == before


def test_a_student_alone_still_has_a_page():
    probs = np.random.default_rng(0).dirichlet([1, 1], size=60)
    task = Task("binary", "y", (False, True))
    facts = ReportFacts("Alone", task, gather({"student": probs}, np.arange(60) % 2, task))
    page = Page(render(facts))
    assert "no answers of the teacher and hard-label twin on the test rows" in page.text
    assert "picture" not in " ".join(page.ids)
    assert not {"cost", "candidates", "disagreements"} & set(page.ids)


def test_a_teacher_without_latency_is_a_line(binary):
    models = {"student": binary.models["student"], "teacher": ModelFacts("a table of probabilities")}
    page = Page(render(msgspec.structs.replace(bare(binary), models=models)))
    assert "Latency was not measured, so a line only: teacher, best member and hard-label twin." in page.text
    assert "Times faster" not in page.text


def test_facts_go_to_json_and_back(binary, regression, tmp_path):
    for facts in (binary, regression):
        save_facts(facts, tmp_path / "facts.json")
        assert load_facts(tmp_path / "facts.json") == facts
    assert [path.name for path in tmp_path.iterdir()] == ["facts.json"]


def test_the_report_is_written_whole(binary, tmp_path):
    save_report(bare(binary), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(bare(binary))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_other_files_are_no_facts(tmp_path):
    place = tmp_path / "facts.json"
    with pytest.raises(UserError) as caught:
        load_facts(place)
    assert str(caught.value) == (
        f"Cannot read the report's facts from {place}: No such file or directory.\n\nhint: Check the path."
    )
    place.write_text('{"title": 3}')
    with pytest.raises(UserError) as caught:
        load_facts(place)
    assert str(caught.value) == (
        f"{place} does not hold a report's facts: Expected `str`, got `int` - at `$.title`.\n\n"
        "hint: pass a file that potstill wrote, such as the one of `distill --facts`"
    )


def test_a_page_that_cannot_be_written_is_said(binary, tmp_path):
    with pytest.raises(UserError) as caught:
        save_report(bare(binary), tmp_path / "nowhere" / "r.html")
    assert str(caught.value) == (
        f"Cannot write {tmp_path / 'nowhere' / 'r.html'}: No such file or directory.\n\n"
        "hint: Write to a folder of your own that has room."
    )


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (
            {},
            "Distillation helped: on 1,000 test rows the student's log-loss is 0.0500 lower than that of its "
            "hard-label twin (95\u00a0% interval +0.0200 to +0.0800).",
        ),
        (
            {"gain": (0.01, -0.02, 0.04)},
            "Distillation did not help here as far as 1,000 test rows can tell: the 95\u00a0% interval of "
            "the student's gain over its hard-label twin in log-loss, −0.0200 to +0.0400, contains 0.",
        ),
        (
            {"gain": (-0.03, -0.05, -0.01), "value": -0.3},
            "Distillation did not help here: on 1,000 test rows the twin trained on the labels alone has the "
            "lower log-loss, by 0.0300 (95\u00a0% interval of the student's gain −0.0500 to −0.0100).",
        ),
        (
            {"edge": (0.01, -0.02, 0.04)},
            "Distillation helped: on 1,000 test rows the student's log-loss is 0.0500 lower than that of its "
            "hard-label twin (95\u00a0% interval +0.0200 to +0.0800). The teacher is not provably better "
            "than the twin, so there is no gap to recover.",
        ),
    ],
)
def test_the_verdict_says_no_more_than_the_interval_bears(binary, gap, said):
    facts = with_gap(bare(binary), **gap)
    assert verdict(facts) == said
    assert said in render(facts).replace("&#39;", "'")


def test_the_verdict_says_when_the_twin_ships(binary):
    facts = msgspec.structs.replace(
        with_gap(bare(binary), gain=(0.0, 0.0, 0.0)), shipped="twin", untaught=True
    )
    assert verdict(facts) == (
        "Distillation did not help here: on the validation rows nothing the teacher taught was better "
        "than the labels alone, so the artifact holds the hard-label twin, scored here on 1,000 test rows."
    )
    assert "ships is-twin" in render(facts)


def test_a_twin_of_smoothed_labels_is_not_praised_as_a_student(binary):
    facts = msgspec.structs.replace(with_gap(bare(binary), gain=(0.03, 0.01, 0.05)), untaught=True)
    assert verdict(facts).startswith("Distillation did not help here: on the validation rows nothing")
    assert "ships is-student" in render(facts)
    assert "no teacher had a part in it" in render(facts)


def test_no_ratio_where_the_edge_is_noise(binary):
    facts = with_gap(bare(binary), edge=(0.01, -0.02, 0.04), value=5.0)
    page = Page(render(facts))
    assert "500\u00a0%" not in page.text
    assert "no gap" in page.text
    assert summary_rows(facts)[-1].gap_recovered == "no gap: the teacher's edge is within noise"


def with_more_contenders(facts):
    """The same facts with three more models: two that are listed and one that is not."""
    own = facts.evidence.scores["twin"]
    over = {"log_loss": Interval(0.0123, -0.0040, 0.0210), "accuracy": Interval(0.01, 0.001, 0.02)}
    more = ("zebra_model", "twin_smoothed", "twin_raw")
    evidence = msgspec.structs.replace(
        facts.evidence,
        scores={**facts.evidence.scores, **dict.fromkeys(more, own)},
        advantages={"twin": over, **dict.fromkeys(more, over)},
    )
    models = {**facts.models, **dict.fromkeys(more, ModelFacts("a tree"))}
    return msgspec.structs.replace(facts, evidence=evidence, models=models)


def test_more_contenders_appear_where_they_were_measured(binary):
    page = Page(render(with_more_contenders(with_gap(bare(binary)))))
    names = ["Teacher", "Best member", "Twin, uncalibrated", "Twin, smoothed labels", "Hard-label twin"]
    rows = summary_rows(with_more_contenders(binary))
    assert [row.model for row in rows] == [*names, "Zebra model", "Student"]
    assert page.text.count("Zebra model") == 2
    assert "0.0123 (−0.0040 to 0.0210)" in page.text
    assert "so a line only: twin, uncalibrated" not in page.text
    assert ("style", "fill:var(--twin-smoothed)") in page.attributes
    assert ("style", "fill:var(--other)") in page.attributes


def test_the_verdict_says_when_smoothed_labels_do_as_much(binary):
    facts = with_more_contenders(with_gap(bare(binary)))
    assert verdict(facts).endswith(
        " Smoothed labels without a teacher may do as much: the interval of the student's gain over that "
        "twin, −0.0040 to +0.0210, contains 0."
    )


def searched(facts, **more):
    """The same facts with a search of five candidates."""
    candidates = (
        CandidateFacts(
            "big", 0.20, 2_000_000, Latency(90.0, 130.0), pareto=True, number=1, fits_budget=False
        ),
        CandidateFacts("middle", 0.25, 400_000, Latency(30.0, 50.0), pareto=True, chosen=True, number=2),
        CandidateFacts("small", 0.35, 9_000, Latency(10.0, 20.0), pareto=True, number=3),
        CandidateFacts("poor", 0.45, 500_000, Latency(40.0, 60.0)),
        CandidateFacts("never exported", 0.5),
    )
    return msgspec.structs.replace(facts, candidates=candidates, **more)


def test_points_of_the_front_lead_to_their_line_and_the_command_that_ships_them(binary):
    facts = searched(
        bare(binary),
        budget=Budget(latency_ms=0.1, size_kb=1000),
        validation_losses={"teacher": 0.18, "best_member": 0.1801},
        command="potstill distill a.csv -t y",
        frontier="points",
    )
    html = render(facts)
    page = Page(html)
    assert [each for each in page.ids if re.fullmatch(r"point-\d", each)] == ["point-1", "point-2", "point-3"]
    for chart in ("candidates-0-wide", "candidates-0-narrow", "candidates-1-wide", "candidates-1-narrow"):
        drawn = html[html.index(f'aria-labelledby="{chart}-title') :]
        drawn = drawn[: drawn.index("</svg>")]
        assert re.findall(r'href="(#point-\d)"', drawn) == ["#point-3", "#point-2", "#point-1"]
        assert "<title>poor, log-loss 0.4500, 500 kB, 40.0 µs (p99 60.0 µs)</title>" in drawn
        assert drawn.count("never exported") == 0
    assert ("role", "group") in page.attributes
    said = "1: big, log-loss 0.2000, 2.00 MB, 90.0 µs (p99 130 µs), over the budget"
    assert page.attributes.count(("aria-label", said)) == 4
    assert "budget: p99 up to 100 µs" in page.text
    assert page.text.count("Teacher and Best member") == 4
    assert "run potstill distill a.csv -t y --pick N with its number for N" in page.text
    assert "or copy points/N.onnx" in page.text
    assert ("data-command", "potstill distill a.csv -t y --pick N") in page.attributes


def test_without_points_there_is_nothing_to_pick(binary):
    page = Page(render(bare(binary)))
    assert "script" not in page.tags
    assert "--pick" not in page.text


def test_the_number_of_columns_is_shown_where_it_was_measured(binary):
    columns = (
        ColumnFacts(("age",), 0.4, 0.38, 0.42),
        ColumnFacts(("age", "bmi"), 0.3, 0.28, 0.32, chosen=True),
        ColumnFacts(("age", "bmi", "bp", "s1"), 0.29),
    )
    page = Page(render(msgspec.structs.replace(bare(binary), columns=columns)))
    assert "columns" in page.ids
    assert "Columns and loss: 1: 0.4000; 2: 0.3000; 4: 0.2900." in page.text
    assert "4 bp, s1 0.2900 –" in page.text
    assert "columns" not in Page(render(bare(binary))).ids


def test_losses_below_zero_and_a_single_latency_are_drawn(binary):
    facts = searched(bare(binary), validation_losses={"teacher": -0.5})
    same = tuple(msgspec.structs.replace(each, latency=Latency(10.0, 10.0)) for each in facts.candidates)
    page = Page(render(msgspec.structs.replace(facts, candidates=same)))
    assert page.tags.count("svg") >= 4


def test_summary_rows_are_written_cells(binary, regression):
    rows = summary_rows(with_gap(binary))
    assert [row.model for row in rows] == ["Teacher", "Best member", "Hard-label twin", "Student"]
    student = rows[-1]
    assert list(student.scores) == ["accuracy", "log_loss", "ece"]
    assert student.scores["accuracy"] == f"{binary.evidence.scores['student']['accuracy']:.4f}"
    assert (student.latency_p50, student.latency_p99, student.size) == ("14.0 µs", "31.0 µs", "5.00 kB")
    assert student.gap_recovered == "50\u00a0% (20\u00a0% to 80\u00a0%)"
    assert rows[0].gap_recovered == ""
    assert list(summary_rows(regression)[0].scores) == ["r2", "rmse", "mae"]
