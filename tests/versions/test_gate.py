"""What a gate lets pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.artifact import load
from potstill.errors import GateFailed, UserError
from potstill.versions import Condition, check_gate, figures


def test_figures_of_a_card(make) -> None:
    assert figures(load(make()).card) == {
        "log_loss": 0.3,
        "roc_auc": None,
        "recovery.log_loss": 0.6,
        "recovery_low.log_loss": 0.2,
        "recovery": 0.6,
        "recovery_low": 0.2,
        "latency_p50_us": 12.5,
        "latency_p99_us": 40.0,
        "size_kb": 5.0,
    }


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("recovery>=0.6", True),
        ("recovery > 0.6", False),
        ("log_loss<=.3", True),
        ("log_loss<3e-1", False),
        ("latency_p99_us<=40", True),
        ("size_kb<5", False),
    ],
)
def test_a_bound_is_kept_to_the_digit(make, text: str, passes: bool) -> None:
    card = load(make()).card
    if passes:
        check_gate(card, [Condition.parse(text)], source="m.onnx")
    else:
        with pytest.raises(GateFailed):
            check_gate(card, [Condition.parse(text)], source="m.onnx")


def test_all_that_fails_is_named(make) -> None:
    conditions = [Condition.parse(each) for each in ("recovery>=0.7", "log_loss<1", "roc_auc>0.5")]
    with pytest.raises(GateFailed) as error:
        check_gate(load(make()).card, conditions, source="m.onnx")
    assert str(error.value) == (
        "m.onnx does not pass the gate: recovery>=0.7 (it is 0.6); roc_auc>0.5 (undefined).\n\n"
        "hint: It was not pushed. See its figures with potstill inspect."
    )


def test_a_figure_that_was_not_measured_is_no_pass(make) -> None:
    with pytest.raises(UserError) as error:
        check_gate(load(make()).card, [Condition.parse("acuracy>=0.1")], source="m.onnx")
    assert error.value.message == "The card of m.onnx has no figure 'acuracy', which the gate asks about."


@pytest.mark.parametrize(
    "text", ["", "recovery", "recovery=0.5", "recovery>=", "a>=1.2.3", "a>=nan", "a>=1 b"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(UserError, match="is no condition; wanted a figure"):
        Condition.parse(text)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([">=", "<=", ">", "<"]))
def test_a_condition_reads_what_it_writes(bound: float, comparison: str) -> None:
    written = Condition("log_loss", comparison, float(f"{bound:g}"))
    assert Condition.parse(str(written)) == written
