"""What a `Watch` says of traffic: quiet without drift, loud with it, and never wrong about counts."""

from __future__ import annotations

import math
import threading

import msgspec
import numpy as np
import pandas as pd
import pytest

from potstill.artifact import Reference, feeds, load
from potstill.artifact.card import decode_card, encode_card
from potstill.artifact.columns import rows_of, slice_feeds
from potstill.errors import UserError
from potstill.monitoring import Shadow, Thresholds, Watch, make_reference
from potstill.monitoring.reference import column_histograms
from potstill.monitoring.watch import merged_reports


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def seen(traffic, rows, **options):
    watch = Watch(traffic.model, **options)
    inputs = traffic.feeds(rows)
    watch.observe(inputs, traffic.model.outputs(inputs))
    return watch.report()


def test_the_card_carries_the_reference(classes):
    reference = classes.model.card.reference
    assert set(reference.columns) == {"age", "city", "member", "since", "pay"}
    city = reference.columns["city"]
    level = classes.model.schema.columns[1].levels
    assert level == ("Rome", "Oslo", "Lima")
    assert city.counts[0] > city.counts[1] > city.counts[2]
    assert city.edges == ()
    age = reference.columns["age"]
    assert sum(age.counts) + age.n_missing == reference.n_rows
    assert 0.03 < age.n_missing / reference.n_rows < 0.07
    assert max(age.counts) < 1.2 * min(age.counts)
    assert sum(reference.answers["label"].counts) == reference.n_answers
    assert sum(reference.confidence.counts) == reference.n_answers < reference.n_rows


def test_a_reference_may_be_counted_some_rows_at_a_time(classes):
    inputs = classes.feeds(classes.rows(500))
    batches = [slice_feeds(inputs, 0, 100), slice_feeds(inputs, 100, rows_of(inputs))]
    whole = column_histograms([inputs], classes.model.schema)
    assert column_histograms(batches, classes.model.schema) == whole


def test_a_card_comes_back_with_its_reference_and_its_hash_covers_it(classes):
    card = classes.model.card
    assert decode_card(encode_card(card), source="the file") == card
    without = msgspec.structs.replace(card, reference=msgspec.UNSET)
    assert "reference" not in msgspec.json.decode(encode_card(without))
    assert without.content_hash != card.content_hash


def test_no_edge_is_a_value_of_a_row(classes):
    pay = classes.model.card.reference.columns["pay"]
    assert pay.edges
    assert not set(np.float32(pay.edges)) & set(np.float32(classes.learned_from["pay"]))


def test_rows_like_those_learned_from_raise_no_alarm(classes):
    report = seen(classes, classes.rows(4000))
    assert report.current.alarms == ()
    assert report.current.n_rows == report.n_rows == 4000
    assert report.has_reference
    assert max(drift.psi for drift in report.current.columns.values()) < 0.05
    estimate = report.current.accuracy
    truth = (classes.model.predict(rows := classes.rows(4000)) == rows["paid"]).mean()
    assert estimate.low < truth < estimate.high
    assert estimate.reference == pytest.approx(truth, abs=0.05)
    assert estimate.trusted


def test_a_shifted_column_is_named(classes):
    rows = classes.rows(2000)
    rows["age"] += 10
    report = seen(classes, rows)
    age = report.current.columns["age"]
    assert age.alarms == ("distribution",)
    assert age.psi > 0.5
    assert age.ks == pytest.approx(0.38, abs=0.06)
    assert age.ks_p < 1e-30
    assert age.jensen_shannon > 0.2
    assert report.current.columns["pay"].alarms == ()
    assert f"Column 'age' has drifted: PSI {age.psi:.2f}." in report.current.alarms
    assert report.current.answers["probability"].alarms == ("distribution",)
    assert not report.current.accuracy.trusted


def test_missing_and_unseen_values_are_named(classes):
    rows = classes.rows(2000)
    rows.loc[::4, "age"] = np.nan
    rows["city"] = rows["city"].astype(object)
    rows.loc[::5, "city"] = "Quito"
    report = seen(classes, rows)
    columns = report.current.columns
    assert "missing" in columns["age"].alarms
    assert columns["age"].missing == pytest.approx(rows["age"].isna().mean())
    assert columns["city"].unseen == pytest.approx(0.2)
    assert columns["city"].alarms == ("unseen",)
    assert "Column 'city' has 20.0% unseen values; it had 0.0%." in report.current.alarms
    assert columns["city"].ks is None


def test_harder_rows_lower_the_estimate_as_they_lower_the_accuracy(classes):
    frame = classes.frame[(classes.frame["age"] - 40).abs() < 4].reset_index(drop=True)
    report = seen(classes, frame)
    truth = (classes.model.predict(frame) == frame["paid"]).mean()
    estimate = report.current.accuracy
    assert estimate.reference - truth > 0.1
    assert estimate.value == pytest.approx(truth, abs=0.05)
    assert f"The accuracy is estimated at {estimate.value:.1%}; it was {estimate.reference:.1%}." in (
        report.current.alarms
    )


def test_values_are_watched_too_without_an_accuracy(values):
    quiet = seen(values, values.rows(2000))
    assert quiet.current.alarms == ()
    assert quiet.current.accuracy is None
    rows = values.rows(2000)
    rows["age"] += 10
    loud = seen(values, rows)
    assert loud.current.answers["value"].alarms == ("distribution",)


def test_few_rows_raise_no_alarm_however_odd(classes):
    rows = classes.rows(150)
    rows["age"] += 30
    assert seen(classes, rows).current.alarms == ()
    assert seen(classes, rows, thresholds=Thresholds(min_rows=100)).current.alarms != ()


def test_pictures_are_counted_and_let_go_at_once(album, decoded):
    model = load(album.artifact)
    inputs = feeds(album.rows, model.schema)
    watch = Watch(model, reference=make_reference(inputs, model.schema, model.task))
    for row in range(60):
        asked = slice_feeds(inputs, row, row + 1)
        watch.observe(asked, model.outputs(asked))
    del inputs, asked
    assert decoded.now == 0
    assert watch.report().current.columns["photo"].psi == 0.0


def test_windows_close_by_count(classes):
    report = seen(classes, classes.rows(2500), window_rows=1000)
    assert [past.n_rows for past in report.history] == [1000, 1000]
    assert report.last.n_rows == 1000
    assert report.current.n_rows == 500
    assert report.n_rows == 2500


def test_windows_close_by_time(classes):
    clock = Clock()
    watch = Watch(classes.model, window_s=60, clock=clock)
    inputs = classes.feeds(classes.rows(30))
    outputs = classes.model.outputs(inputs)
    for row in range(30):
        watch.observe(slice_feeds(inputs, row, row + 1), outputs[row : row + 1])
        clock.now += 5
    report = watch.report()
    assert [past.n_rows for past in report.history] == [12, 12]
    assert [past.seconds for past in report.history] == [60, 60]
    assert report.current.n_rows == 6
    assert report.current.started == 1_000_120
    clock.now += 3600
    assert watch.report().current is None
    assert watch.report().last.n_rows == 6


def test_only_so_many_windows_are_kept(classes):
    report = seen(classes, classes.rows(2000), window_rows=100, keep=5)
    assert len(report.history) == 5
    assert report.n_rows == 2000


def test_threads_lose_no_row(classes):
    watch = Watch(classes.model, window_rows=10_000)
    inputs = classes.feeds(classes.rows(400))
    outputs = classes.model.outputs(inputs)

    def ask() -> None:
        for row in range(400):
            watch.observe(slice_feeds(inputs, row, row + 1), outputs[row : row + 1])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = watch.report()
    assert report.n_rows == report.current.n_rows == 3200
    whole = Watch(classes.model, window_rows=10_000)
    for _ in range(8):
        whole.observe(inputs, outputs)
    assert whole.report().current.columns == report.current.columns


def test_an_artifact_without_reference_is_watched_by_its_rates(classes):
    report = seen(classes, classes.rows(500), reference=Reference())
    assert not report.has_reference
    assert report.current.columns["age"].psi is None
    assert report.current.columns["age"].missing > 0.02
    assert report.current.answers["label"].psi is None
    assert report.current.accuracy is None
    assert report.current.alarms == ()


def test_an_own_reference_takes_the_cards_place(classes):
    inputs = classes.feeds(classes.rows(3000))
    own = make_reference(inputs, classes.model.schema, classes.model.task)
    report = seen(classes, classes.rows(2000, seed=9), reference=own)
    assert report.current.alarms == ()
    assert report.current.answers["label"].psi is None


def test_infinities_are_in_the_outermost_bins(classes):
    rows = classes.rows(1000)
    rows.loc[::2, "age"] = math.inf
    age = seen(classes, rows).current.columns["age"]
    assert age.alarms == ("distribution",)
    assert age.missing < 0.1


def test_the_report_is_json(classes):
    report = seen(classes, classes.rows(2500), window_rows=1000)
    decoded = msgspec.json.decode(msgspec.json.encode(report))
    assert decoded["last"]["columns"]["age"]["psi"] == pytest.approx(report.last.columns["age"].psi)
    assert decoded["history"][0]["psi"].keys() == {
        *report.last.columns,
        "answer:label",
        "answer:probability",
    }


@pytest.mark.parametrize("options", [{"window_rows": 0}, {"window_s": 0.0}, {"keep": 0}])
def test_windows_of_nothing_are_refused(classes, options):
    with pytest.raises(UserError, match=r"^Wanted windows of at least one row and some time"):
        Watch(classes.model, **options)


def test_a_share_of_the_requests_is_noted(classes):
    watch = Watch(classes.model, share=0.25)
    inputs = classes.feeds(classes.rows(2))
    outputs = classes.model.outputs(inputs)
    for _ in range(1000):
        watch.observe(inputs, outputs)
    assert 350 < watch.report().n_rows < 650
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(UserError, match=r"^Wanted a share of the requests above 0 and up to 1, got "):
            Watch(classes.model, share=share)


def test_a_request_does_not_wait_for_a_report(classes):
    """While the counts are held a request only notes its rows; they are counted later, all of them."""
    watch = Watch(classes.model)
    inputs = classes.feeds(classes.rows(300))
    outputs = classes.model.outputs(inputs)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with watch._counting:
            held.set()
            assert done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    watch.observe(inputs, outputs)
    watch.observe(inputs, outputs)
    done.set()
    holder.join()
    assert watch.report().n_rows == 600


def test_a_column_that_must_move_is_ignored(classes):
    rows = classes.rows(2000)
    rows["since"] += pd.Timedelta(days=900)
    assert any("'since' has drifted" in alarm for alarm in seen(classes, rows).current.alarms)
    current = seen(classes, rows, ignore=["since"]).current
    assert current.columns["since"].psi > 1
    assert not any("'since' has drifted" in alarm for alarm in current.alarms)
    with pytest.raises(UserError, match=r"^There is no column 'until' to ignore; there are: age, city"):
        Watch(classes.model, ignore=["until"])


def test_what_several_processes_saw_is_told_as_one(classes):
    watches = []
    for seed, older in ((1, 0), (2, 10)):
        rows = classes.rows(900 + 100 * seed, seed)
        rows["age"] += older
        inputs = classes.feeds(rows)
        shadow = Shadow(classes.model, lambda asked: classes.model.predict_proba(list(asked)), share=1.0)
        watches.append(Watch(classes.model, window_rows=800, shadow=shadow))
        watches[-1].observe(inputs, classes.model.outputs(inputs))
        shadow.drain()
        shadow.close()
    alone = [watch.report() for watch in watches]
    told = merged_reports(alone)
    assert told.n_rows == 1000 + 1100
    assert told.last == alone[1].last, "the alarm of one is an alarm"
    assert told.current == alone[1].current
    assert len(told.history) == 2
    assert told.shadow.asked == sum(one.shadow.asked for one in alone)
    assert told.shadow.agreement == 1.0
    other = msgspec.structs.replace(alone[1], content_hash="another model's")
    assert merged_reports([alone[0], other]).n_rows == 1000
