"""Into MLflow's registry and out again, with a database of its own: the same answers, and nothing twice.

MLflow is large and pins packages of its own, so it is no part of the development environment; with
``pip install 'potstill[mlflow]'`` these tests run.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.artifact import load
from potstill.cli import potstill as root
from potstill.cli.guard import guarded
from potstill.errors import ArtifactError, GateFailed, UserError
from potstill.versions import push_to_mlflow

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow has many of its own
NOWHERE = "sqlite:///:memory:"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a fresh database; what is logged goes to an experiment whose files lie beside it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = pytest.importorskip("mlflow")
        address = f"sqlite:///{folder / 'mlflow.db'}"
        client = mlflow.MlflowClient(address, address)
        client.create_experiment("potstill", artifact_location=(folder / "files").as_uri())
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "potstill")
        yield address


def loaded(uri: str, model: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(uri)
    return mlflow.pyfunc.load_model(model)


def test_what_comes_out_answers_a_frame_as_the_artifact_does(uri, make) -> None:
    import pandas as pd

    path = make()
    pushed = push_to_mlflow(path, uri, "answers")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (pushed.version, pushed.hash, pushed.aliases) == (1, digest, ("champion",))
    model, artifact = loaded(uri, "models:/answers@champion"), load(path)
    assert loaded(uri, pushed.uri).metadata.signature.outputs.input_names() == [
        "prediction",
        "p_<=50K",
        "p_>50K",
    ]
    probes = pd.DataFrame(artifact.probe_rows)
    wild = pd.DataFrame(
        {
            "age": pd.Series([39, 17, 60, 41]),  # whole numbers where MLflow would want floats
            "hours": pd.Series([40.0, np.nan, np.inf, 12.5]),
            "job": pd.Series(["Sales", None, "never seen", "café"], dtype="category"),
            "member": [True, None, False, pd.NA],
            "since": pd.to_datetime(["2001-02-03", None, "1999-12-31", "2024-02-29"]),
            "unused": ["a", "b", "c", "d"],
        },
        index=[7, 3, 5, 9],
    )
    for rows in (probes, wild, wild[::-1], wild.assign(job=[3, 3.5, 1, None]), wild.iloc[:1]):
        answer = model.predict(rows)
        assert list(answer.index) == list(rows.index)
        np.testing.assert_array_equal(answer[["p_<=50K", "p_>50K"]], artifact.predict_proba(rows))
        assert list(answer["prediction"]) == list(artifact.predict(rows))


def test_rows_it_does_not_take_are_refused(uri, make) -> None:
    import mlflow
    import pandas as pd

    push_to_mlflow(make(), uri, "refusals")
    model = loaded(uri, "models:/refusals/1")
    rows = pd.DataFrame(load(make()).probe_rows)
    with pytest.raises(mlflow.MlflowException, match=r"missing inputs \['age'\]"):
        model.predict(rows.drop(columns="age"))
    with pytest.raises(UserError, match="'age'"):
        model.predict(rows.assign(age="old"))


def test_the_figures_of_the_card_and_the_file_are_kept(uri, make, tmp_path) -> None:
    import mlflow

    path = make()
    pushed = push_to_mlflow(path, uri, "figures", gate=["log_loss<=0.3"])
    client = mlflow.MlflowClient(uri, uri)
    version = client.get_model_version("figures", "1")
    assert version.tags["potstill.hash"] == pushed.hash
    assert version.tags["potstill.content_hash"] == load(path).card.content_hash
    assert version.tags["potstill.gate"] == "log_loss<=0.3"
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["log_loss"] == 0.3
    assert run.data.metrics["latency_p99_us"] == 40.0
    assert "roc_auc" not in run.data.metrics  # it is undefined
    assert run.data.params["task"] == "binary"
    mlflow.set_tracking_uri(uri)
    folder = Path(mlflow.artifacts.download_artifacts(pushed.uri, dst_path=str(tmp_path / "out")))
    assert (folder / "data" / "model.onnx").read_bytes() == path.read_bytes()
    assert "pickle" not in (folder / "MLmodel").read_text(encoding="utf-8")


def test_the_same_bytes_are_one_version_and_aliases_move(uri, make) -> None:
    first = push_to_mlflow(make(log_loss=0.3), uri, "twice")
    again = push_to_mlflow(make(log_loss=0.3), uri, "twice", alias="challenger")
    assert (again.version, again.aliases) == (first.version, ("challenger", "champion"))
    second = push_to_mlflow(make(log_loss=0.2), uri, "twice", alias="challenger")
    assert (second.version, second.aliases) == (2, ("challenger",))
    assert push_to_mlflow(make(log_loss=0.3), uri, "twice").aliases == ("champion",)


def test_what_may_not_ship_and_what_fails_halfway_registers_nothing(uri, make, monkeypatch) -> None:
    import mlflow

    client = mlflow.MlflowClient(uri, uri)
    changed = make("changed")
    changed.write_bytes(changed.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        push_to_mlflow(changed, uri, "nothing")
    with pytest.raises(GateFailed):
        push_to_mlflow(make(), uri, "nothing", gate=["recovery>=0.9"])

    def refusing(*_: object, **__: object) -> None:
        raise mlflow.MlflowException("the registry is being moved")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "register_model", refusing)
        with pytest.raises(UserError) as error:
            push_to_mlflow(make(), uri, "nothing")
    assert error.value.message == "MLflow says: the registry is being moved."
    assert client.search_registered_models("name = 'nothing'") == []
    assert push_to_mlflow(make(), uri, "nothing").version == 1


def test_an_earlier_address_is_put_back(uri, make) -> None:
    import mlflow

    mlflow.set_tracking_uri("http://127.0.0.1:9")
    push_to_mlflow(make(), uri, "put-back")
    assert mlflow.get_tracking_uri() == "http://127.0.0.1:9"


@pytest.mark.parametrize("address", ["nonsense://x", "http://127.0.0.1:9"])
def test_where_no_mlflow_is(uri, make, address, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="MLflow says: ") as error:
        push_to_mlflow(make(), address)
    assert error.value.hint == "Is the address that of an MLflow server or database, and is it running?"


def test_on_the_command_line(uri, make, capfd) -> None:
    arguments = ["push", str(make("cli")), "--mlflow", uri, "--alias", "challenger"]
    assert guarded(root, arguments) == 0
    digest = hashlib.sha256(make("cli").read_bytes()).hexdigest()
    assert capfd.readouterr().out == f"cli version 1 ({digest[:12]}), challenger and champion\n"
    assert guarded(root, [*arguments, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "name": "cli",
        "version": 1,
        "hash": digest,
        "uri": "models:/cli/1",
        "aliases": ["challenger", "champion"],
    }


def test_without_mlflow_a_sentence_says_so(make, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError) as error:
        push_to_mlflow(make(), NOWHERE)
    assert str(error.value) == (
        "Pushing to MLflow needs mlflow, which is not installed.\n\nhint: pip install 'potstill[mlflow]'"
    )


@pytest.mark.parametrize(
    ("name", "alias", "message"),
    [
        ("a.b", None, "MLflow takes no '.' in the name of a model; got 'a.b'."),
        ("a", "latest", "MLflow keeps the alias 'latest' to itself."),
        ("a", "v3", "MLflow keeps the alias 'v3' to itself."),
    ],
)
def test_names_that_mlflow_does_not_take_are_refused_first(make, name, alias, message) -> None:
    with pytest.raises(UserError) as error:
        push_to_mlflow(make(), NOWHERE, name, alias=alias)
    assert error.value.message == message


@pytest.mark.parametrize("places", [[], ["models", "--mlflow", NOWHERE]])
def test_one_place_at_a_time(make, places, capsys) -> None:
    assert guarded(root, ["push", str(make()), *places]) == 2
    assert capsys.readouterr().err == (
        "error: Wanted one place to push to.\n\nhint: Name a folder REPOSITORY, or --mlflow URI.\n"
    )
