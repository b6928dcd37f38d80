"""Conditions by name: labels and numbers beside the rows, or columns of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from nelbo import VariationalAutoencoder
from nelbo.data.condition_schema import ConditionSchema, Labels, Quantity
from nelbo.data.conditions import Conditions

Array = NDArray[Any]
N, D = 300, 4
RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 3, N)
AGE = RNG.normal(40, 10, N)
MEANS = 3 * RNG.normal(size=(3, D))
WORDS = np.array(["bird", "cat", "dog"])[LABEL]
SLOPE = RNG.normal(size=D)
X = (
    MEANS[LABEL]
    + (AGE[:, None] - 40) / 10 * SLOPE
    + RNG.normal(size=(N, 1)) @ RNG.normal(size=(1, D))
    + 0.3 * RNG.normal(size=(N, D))
)
C = {"label": LABEL, "age": AGE}
FRAME = pd.DataFrame({**{f"x{j}": X[:, j] for j in range(D)}, "label": WORDS, "age": AGE})


def quick(**options: Any) -> VariationalAutoencoder:
    settings = {"max_steps": 20, "score_samples_k": 30, **options}
    return VariationalAutoencoder(1, random_state=0, **settings)


@pytest.fixture(scope="module")
def fitted() -> VariationalAutoencoder:
    return quick().fit(X, c=C)


@pytest.fixture(scope="module")
def named() -> VariationalAutoencoder:
    return quick(condition=["label", "age"]).fit(FRAME)


# -- exact answers


def test_a_linear_model_is_regression_on_c_and_ppca_of_what_it_leaves() -> None:
    c = np.column_stack([np.eye(3)[LABEL], AGE])
    r = X - LinearRegression().fit(c, X).predict(c)
    unit = X.std(0)
    exact = PCA(1).fit(r / unit).score_samples(r / unit) - np.log(unit).sum()
    model = quick(network="linear", variance="learned").fit(X, c=C)
    baseline = model.fitted_.baseline(X, c=C)
    assert baseline is not None
    np.testing.assert_allclose(baseline, exact, rtol=1e-6)
    linear = model.score_samples(X, c=C)  # divides variances by n, not by n - 1
    np.testing.assert_allclose(linear.mean(), exact.mean(), atol=0.01)


def test_a_deep_model_starts_there(fitted: VariationalAutoencoder) -> None:
    baseline = fitted.fitted_.baseline(X, c=C)
    assert fitted.kept_start_
    assert baseline is not None
    np.testing.assert_allclose(fitted.score(X, c=C), baseline.mean(), atol=0.02)
    plain = quick().fit(X)
    assert fitted.score(X, c=C) > plain.score(X) + 3
    wrong = {**C, "label": (LABEL + 1) % 3}
    assert fitted.score(X, c=wrong) < plain.score(X)


def test_convolutions_start_there_too() -> None:
    images = X[:, :, None] * np.ones((1, 1, 3)) + 0.1 * RNG.normal(size=(N, D, 3))
    flat, conv = (
        quick(max_steps=1, network=network).fit(images, c=C) for network in ("residual", "conv")
    )
    assert flat.kept_start_
    assert conv.kept_start_
    np.testing.assert_allclose(
        conv.score_samples(images, c=C), flat.score_samples(images, c=C), rtol=1e-3
    )


def test_samples_are_those_of_the_condition(fitted: VariationalAutoencoder) -> None:
    drawn = fitted.sample(4000, c={"age": 60.0, "label": 2}, random_state=1)
    np.testing.assert_allclose(drawn.mean(0), MEANS[2] + 2 * SLOPE, atol=0.2)
    two = fitted.sample(2, noise=False, c={"label": [0, 2], "age": [40, 40]}, random_state=1)
    one = fitted.sample(2, noise=False, c={"label": 2, "age": 40}, random_state=1)
    np.testing.assert_array_equal(two[1], one[1])
    assert np.abs(two[0] - one[0]).max() > 0.5


def test_every_method_reads_c(fitted: VariationalAutoencoder) -> None:
    Z = fitted.transform(X, c=C)
    np.testing.assert_allclose(fitted.inverse_transform(Z, c=C), fitted.reconstruct(X, c=C))
    assert (fitted.elbo(X, c=C) <= fitted.score_samples(X, c=C) + 0.5).all()
    few = {name: cells[:5] for name, cells in C.items()}
    scores = fitted.log_likelihood(X[:5], c=few)
    np.testing.assert_allclose(scores.value, fitted.score_samples(X[:5], c=few), atol=0.3)
    assert scores.trained is not None
    assert scores.trained.all()
    assert np.isfinite(fitted.noise_variance_).all()


GREY = (RNG.random((N, 4, 3)) * 80 + LABEL[:, None, None] * 60).astype(np.uint8)
ROWS: dict[str, Array] = {"numbers": X, "grey": GREY, "ones": (X > 0).astype(float)}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("numbers", {"prior": "mixture"}),
        ("numbers", {"prior": "hierarchical", "posterior": "hierarchical", "latent_dim": 2}),
        ("numbers", {"posterior": "full_normal"}),
        ("numbers", {"likelihood": "student_t"}),
        ("numbers", {"network": "mlp", "objective": "iwae", "objective_samples": 3}),
        ("numbers", {"scale": "whitened"}),
        ("numbers", {"variance": 0.2}),
        ("numbers", {"validation_fraction": 0}),
        ("numbers", {"max_steps": None, "max_seconds": 0.2}),
        ("numbers", {"latent_dim": "auto", "max_steps": None, "max_epochs": 1}),
        ("grey", {}),
        ("grey", {"network": "conv", "channels": (2,)}),
        ("grey", {"likelihood": "discretized_gaussian"}),
        ("ones", {"likelihood": "bernoulli", "network": "mlp"}),
    ],
    ids=str,
)
def test_every_part_goes_with_conditions(kind: str, options: dict[str, Any]) -> None:
    rows = ROWS[kind]
    settings = {"latent_dim": 1, "hidden": (8,), "max_steps": 10, "score_samples_k": 20, **options}
    model = VariationalAutoencoder(random_state=0, **settings).fit(rows, c=LABEL)
    right, wrong = (model.elbo(rows, c=c).mean() for c in (LABEL, (LABEL + 1) % 3))
    assert right > wrong
    assert np.isfinite(model.score(rows[:20], c=LABEL[:20]))
    assert model.sample(3, c=1).shape == rows[:3].shape


# -- names


def test_columns_of_a_frame_are_the_same_as_c_beside_it(named: VariationalAutoencoder) -> None:
    beside = quick().fit(X, c={"label": WORDS, "age": AGE})
    expected = beside.score_samples(X, c={"label": WORDS, "age": AGE})
    np.testing.assert_array_equal(named.score_samples(FRAME), expected)
    assert named.n_features_in_ == D
    assert [*named.feature_names_in_] == [f"x{j}" for j in range(D)]
    shuffled = FRAME[["age", "x0", "x1", "label", "x2", "x3"]]
    np.testing.assert_array_equal(named.score_samples(shuffled), named.score_samples(FRAME))
    alone = FRAME.drop(columns=["label", "age"])
    c = FRAME[["label", "age"]]
    np.testing.assert_array_equal(named.transform(alone, c=c), named.transform(FRAME))
    frame = pa.Table.from_pandas(FRAME)
    np.testing.assert_allclose(named.score_samples(frame), named.score_samples(FRAME))


def test_columns_of_an_array_are_named_by_place() -> None:
    table = np.column_stack([LABEL, X, AGE])
    model = quick(condition=[0, -1]).fit(table)
    beside = quick().fit(X, c=np.column_stack([LABEL, AGE]))
    expected = beside.score_samples(X, c=np.column_stack([LABEL, AGE]))
    np.testing.assert_array_equal(model.score_samples(table), expected)
    assert model.condition_ is not None
    assert model.condition_.names == ("0", "5")
    tensor = torch.from_numpy(table)
    np.testing.assert_array_equal(model.score_samples(tensor), expected)


def test_labels_and_numbers_are_told_apart_by_their_values() -> None:
    given = Conditions.of(
        {"word": WORDS, "digit": LABEL.astype(float), "flag": LABEL == 1, "year": np.arange(N)}
    )
    found = ConditionSchema.infer(given)
    kinds = [type(column) for column in found.columns]
    assert kinds == [Labels, Labels, Labels, Quantity]
    c = found.encode(given)
    assert c.shape == (N, 3 + 3 + 2 + 1)
    assert torch.equal(c[:, :3], c[:, 3:6])
    assert torch.equal(c[:, 7], torch.from_numpy(LABEL == 1).double())
    torch.testing.assert_close(c[:, 8].std(correction=0), torch.tensor(1.0, dtype=torch.float64))
    assert ConditionSchema.from_dict(found.to_dict()) == found
    typed = {"word": ["cat"], "digit": ["2"], "flag": ["0"], "year": ["7"]}
    assert found.encode(Conditions.of(typed))[0, :8].tolist() == [0, 1, 0, 0, 0, 1, 1, 0]


# -- scikit-learn


def test_conditions_travel_inside_x_through_scikit_learn() -> None:
    model = quick(condition=["label"], validation_fraction=0)
    frame = FRAME.drop(columns=["age"])
    assert clone(model).get_params()["condition"] == ["label"]
    scores = cross_val_score(model, frame, cv=2)
    blind = cross_val_score(
        clone(model).set_params(condition=None), frame.drop(columns=["label"]), cv=2
    )
    assert (scores > blind).all()
    pipe = make_pipeline(FunctionTransformer(), clone(model)).fit(frame)
    np.testing.assert_allclose(pipe.score(frame), clone(model).fit(frame).score(frame))


# -- kept


def test_save_and_load_remember_the_condition(
    fitted: VariationalAutoencoder, named: VariationalAutoencoder, tmp_path: Path
) -> None:
    named.save(tmp_path / "run")
    loaded = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.score_samples(FRAME), named.score_samples(FRAME))
    assert loaded.condition_ == named.condition_
    assert loaded.get_params()["condition"] is not None
    assert "conditioned on" in (tmp_path / "run" / "README.md").read_text()
    baselines = (model.fitted_.baseline(FRAME) for model in (loaded, named))
    np.testing.assert_array_equal(*baselines)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.elbo(X, c=C), fitted.elbo(X, c=C))


def test_an_interrupted_fit_goes_on_with_the_same_conditions_alone(tmp_path: Path) -> None:
    older = {**C, "age": AGE * 2}
    whole, kept, again, other, plain = (
        quick(checkpoint_dir=place).fit(X, c=c)
        for place, c in (
            (None, C),
            (tmp_path / "state", C),
            (tmp_path / "state", C),
            (tmp_path / "state", older),
            (None, older),
        )
    )
    np.testing.assert_array_equal(kept.elbo(X, c=C), whole.elbo(X, c=C))
    assert again.history_.to_dict() == kept.history_.to_dict()
    np.testing.assert_array_equal(other.elbo(X, c=older), plain.elbo(X, c=older))
    assert other.history_.to_dict() != kept.history_.to_dict()


def test_a_fit_goes_on_with_the_labels_that_it_knows() -> None:
    model = quick(warm_start=True).fit(X, c=C)
    before = model.condition_
    model.fit(X[:200], c={name: cells[:200] for name, cells in C.items()})
    assert model.condition_ == before
    with pytest.raises(ValueError, match="label = 11 in row 0"):
        model.fit(X, c={**C, "label": LABEL + 9})
    with pytest.raises(ValueError, match="c is missing"):
        model.fit(X)


def test_explain_says_what_c_is(named: VariationalAutoencoder) -> None:
    told = quick(condition=["label", "age"]).explain(FRAME)["condition"]["value"]
    assert "label: 3 labels (bird, cat and dog); age: a number" in told
    assert named.recipe_["condition"]["value"] == told
    assert "condition" not in quick().explain(X)


# -- digits


def test_digits_given_their_label_are_drawn_by_it_and_scored_as_by_a_model_of_each() -> None:
    digits = load_digits(n_class=3)
    train, test, c, c_test = train_test_split(digits.images, digits.target, random_state=0)
    options: dict[str, Any] = {"random_state": 0, "max_steps": 150, "score_samples_k": 30}
    given = VariationalAutoencoder(4, **options).fit(train, c=c)
    blind = VariationalAutoencoder(4, **options).fit(train)
    apart = np.empty(len(test))
    for digit in range(3):
        alone = VariationalAutoencoder(4, **options).fit(train[c == digit])
        apart[c_test == digit] = alone.score_samples(test[c_test == digit])
    nats = given.score(test, c=c_test)
    assert nats > blind.score(test)
    assert nats > apart.mean() - 2
    judge = SVC(gamma=1e-3).fit(train.reshape(-1, 64), c)
    for digit in range(3):
        drawn = given.sample(100, c=digit, random_state=digit)
        assert np.mean(judge.predict(drawn.reshape(-1, 64)) == digit) > 0.9
    by_label = [given.score_samples(test, c=np.full(len(test), digit)) for digit in range(3)]
    assert np.mean(np.argmax(by_label, axis=0) == c_test) > 0.95  # by Bayes' rule


# -- errors for people


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.score_samples(X), "c is missing: this model is one of p"),
        (lambda m: m.sample(2), "c is missing"),
        (lambda m: m.inverse_transform(np.zeros((2, 1))), "c is missing"),
        (lambda m: m.score(X, c={"label": LABEL}), "c must have the columns label and age"),
        (lambda m: m.score(X, c={**C, "size": AGE}), "got label, age and size"),
        (lambda m: m.score(X, c=LABEL), "got 1 columns"),
        (lambda m: m.sample(2, c={"label": 7, "age": 1}), "label = 7 in row 0.*fitted on 0, 1 and"),
        (lambda m: m.sample(2, c={"label": 1, "age": "old"}), "age = old in row 0"),
        (lambda m: m.sample(3, c={"label": [1, 2], "age": [1, 2]}), "2 conditions, but 3 rows"),
        (lambda m: m.score(X[:9], c=C), "c has 300 rows, but X has 9"),
        (lambda m: m.score(X, c={**C, "age": AGE[:5]}), "Give all of them as many"),
        (lambda m: quick().fit(X, c=np.where(LABEL == 0, np.nan, LABEL)), "no value of 'c' in"),
        (lambda m: quick().fit(X, c=[None, *WORDS[1:]]), "no value of 'c' in 1 of 300 rows"),
        (lambda m: quick(condition=["lable"]).fit(FRAME), "'lable'.* Did you mean 'label'"),
        (lambda m: quick(condition=["a"]).fit(X), "columns have no names"),
        (lambda m: quick(condition=[9]).fit(X), "no column 9 to condition on, but 0 to 3"),
        (lambda m: quick(condition=[0]).fit(X, c=LABEL), "Keep one of them"),
        (lambda m: quick(condition=[0]).fit(X[:, None] * np.ones((1, 3, 1))), "of a table"),
        (lambda m: quick(condition=[0, 0]).fit(X), "each once"),
        (lambda m: quick(condition=[]).fit(X), "at least one column"),
        (lambda m: quick().fit(X).score(X, c=LABEL), "fitted without conditions"),
        (lambda m: quick().fit(X).sample(1, c=3), "fitted without conditions"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    fitted: VariationalAutoencoder, call: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        call(fitted)


def test_what_is_no_list_of_columns_or_no_label_is_refused() -> None:
    with pytest.raises(TypeError, match="condition must be a list of names"):
        quick(condition="label").fit(FRAME)
    with pytest.raises(TypeError, match="labels or numbers are required"):
        quick().fit(X, c=np.zeros(N, dtype="datetime64[s]"))
    with pytest.raises(TypeError, match=r"in row 0 \(counting from 0\)"):
        quick().fit(X, c=[object() for _ in range(N)])
