from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

import fastfit as ff
from fastfit import estimator
from fastfit.estimator import FeatureSelectionWarning, LineRegressor
from fastfit.losses import LOSSES
from fastfit.points.opening import points_of
from tests.conftest import COMPILED, Script

Points = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
BACKEND: Any = "numba" if COMPILED else "numpy"
ignore_selection = pytest.mark.filterwarnings("ignore::fastfit.estimator.FeatureSelectionWarning")


@pytest.fixture
def points(rng: np.random.Generator) -> Points:
    """X of one column, y and weights."""
    x = rng.normal(3.0, 2.0, size=(200, 1))
    return x, 1.5 * x[:, 0] - 4.0 + rng.normal(size=200), rng.uniform(0.1, 5.0, size=200)


# The checks of scikit-learn


class Plain(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor for which no tag was set."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Plain:  # noqa: N803
        return self


# Compiled code differs from NumPy's by types and layouts alone, so one loss is checked compiled.
@ignore_selection
@pytest.mark.parametrize(
    "regressor",
    [
        pytest.param(LineRegressor(backend=BACKEND), marks=pytest.mark.slow),
        *(LineRegressor(loss=name, backend="numpy") for name in ("squared_error", "huber")),
        pytest.param(LineRegressor(loss="tukey", backend="numpy"), marks=pytest.mark.slow),
        LineRegressor(solver="gradient_descent", backend="numpy"),
        LineRegressor(fit_intercept=False, n_threads=1, backend="numpy"),
    ],
    ids=repr,
)
def test_every_check_of_scikit_learn_runs_and_passes(
    regressor: LineRegressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without this scikit-learn skips the check of its array API.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    results = check_estimator(regressor)
    expected = [check.func.__name__ for _, check in estimator_checks_generator(Plain())]
    assert [result["check_name"] for result in results] == expected
    assert {result["status"] for result in results} == {"passed"}
    assert len(results) >= 50


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("solver", ["auto", "exact", "gradient_descent"])
def test_as_linear_regression(
    points: Points, backend: Any, solver: str, fit_intercept: bool, weighted: bool
) -> None:
    x, y, w = points
    weights = w if weighted else None
    theirs = LinearRegression(fit_intercept=fit_intercept).fit(x, y, weights)
    ours = LineRegressor(solver=solver, fit_intercept=fit_intercept, backend=backend)
    assert ours.fit(x, y, weights) is ours
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    assert ours.coef_.shape == (1,)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-9, abs=1e-12)
    assert isinstance(ours.intercept_, float)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9, atol=1e-9)
    assert ours.score(x, y, weights) == pytest.approx(theirs.score(x, y, weights), rel=1e-12)
    assert ours.n_iter_ == ours.line_.n_iter


def test_the_line_is_that_of_fit_line(points: Points) -> None:
    x, y, w = points
    regressor = LineRegressor().fit(x, y, sample_weight=w)
    line = ff.fit_line(x, y, sample_weight=w)
    assert regressor.line_.to_dict() == line.to_dict()
    assert (regressor.coef_[0], regressor.intercept_) == (line.slope, line.intercept)
    assert regressor.moments_ == [ff.Moments.of(x, y, w)]
    np.testing.assert_array_equal(regressor.predict(x), line.predict(x[:, 0]))


def test_the_scale_of_a_robust_loss(points: Points) -> None:
    x, y, _ = points
    regressor = LineRegressor(loss="huber", f_scale=0.5).fit(x, y)
    assert regressor.line_.to_dict() == ff.fit_line(x, y, loss=ff.Huber(0.5)).to_dict()


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
@ignore_selection
def test_floats_are_read_in_place(
    points: Points, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def recorded(*given: Any, **options: Any) -> Any:
        opened.append(points_of(*given, **options))
        return opened[-1]

    monkeypatch.setattr(estimator, "points_of", recorded)
    x, y, _ = (values.astype(dtype) for values in points)
    x.flags.writeable = False
    wide = np.hstack([np.zeros_like(x), x])
    for values in (x, wide, np.asfortranarray(wide)):
        line = LineRegressor().fit(values, y).line_
        assert np.shares_memory(opened[-1].x, values)
        assert np.shares_memory(opened[-1].y, y)
        assert opened[-1].n_passes == 1
        assert line.slope == ff.fit_line(x, y).slope


def test_numbers_of_other_types_keep_their_digits() -> None:
    nanoseconds = 1_700_000_000_000_000_000 + np.arange(0, 600, 3, dtype=np.int64)
    y = np.arange(200, dtype=np.float32)
    regressor = LineRegressor().fit(nanoseconds[:, None], y)
    assert regressor.coef_[0] == pytest.approx(1 / 3, rel=1e-12)
    mixed = LineRegressor().fit(np.arange(5, dtype=np.int8)[:, None], [True, False, True, True, 0])
    assert mixed.coef_[0] == pytest.approx(-0.1)
    assert mixed.predict(np.array([[1]], dtype=np.float16)).dtype == np.float64


def test_time_stamps_are_predicted_to_the_last_digits(rng: np.random.Generator) -> None:
    x = 1.7e9 + np.sort(rng.random((200, 1)), axis=0)
    y = 2.0**20 * (x[:, 0] - 1.7e9)
    np.testing.assert_allclose(LineRegressor().fit(x, y).predict(x), y, rtol=1e-9, atol=1e-3)


# Several features


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_feature_with_the_smallest_loss_is_fitted(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 4))
    y = x @ rng.normal(size=4) + rng.normal(size=60)
    lines = [ff.fit_line(column, y) for column in x.T]
    best = int(np.argmin([line.loss for line in lines]))
    match = f"feature {best} of X .*; 3 other features"
    with pytest.warns(FeatureSelectionWarning, match=match) as caught:
        regressor = getattr(LineRegressor(), method)(x, y)
    assert [warning.filename for warning in caught] == [__file__]
    assert (regressor.feature_, regressor.n_features_in_) == (best, 4)
    expected = np.where(np.arange(4) == best, lines[best].slope, 0.0)
    np.testing.assert_allclose(regressor.coef_, expected, rtol=1e-14)
    predicted = x @ regressor.coef_ + regressor.intercept_
    np.testing.assert_allclose(regressor.predict(x), predicted, rtol=1e-12)


@ignore_selection
def test_constant_features_are_skipped_and_the_first_of_equals_is_taken(points: Points) -> None:
    x, y, w = points
    several = np.hstack([np.full_like(x, 0.1), x, x])
    for fit in (LineRegressor().fit, LineRegressor().partial_fit):
        regressor = fit(several, y, sample_weight=w)
        assert regressor.feature_ == 1
        assert [each.xx > 0.0 for each in regressor.moments_] == [False, True, True]
    with pytest.raises(ValueError, match="at least two different values"):
        LineRegressor().fit(several[:, [0, 0]], y)
    through_origin = LineRegressor(fit_intercept=False).fit(several[:, [0]], 3.0 * several[:, 0])
    assert through_origin.coef_[0] == pytest.approx(3.0, rel=1e-14)


# Batches


def assert_same_line(one: LineRegressor, other: LineRegressor) -> None:
    ours, theirs = (
        np.array([*each.coef_, each.intercept_, each.line_.loss, each.line_.stderr])
        for each in (one, other)
    )
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=4)
    assert one.line_.n_points == other.line_.n_points


@pytest.mark.parametrize("offset", [0.0, 1.7e9])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_batches_give_the_line_of_the_whole(
    points: Points, rng: np.random.Generator, offset: float, weighted: bool, fit_intercept: bool
) -> None:
    x, y, w = points
    x = x + offset
    weights = w if weighted else np.ones(200)
    whole = LineRegressor(fit_intercept=fit_intercept).fit(x, y, weights if weighted else None)
    for _ in range(3):
        regressor = LineRegressor(fit_intercept=fit_intercept)
        cuts = 1 + np.sort(rng.choice(199, size=30, replace=False))
        for part in np.split(np.arange(200), cuts):  # single points among them
            assert regressor.partial_fit(x[part], y[part], weights[part]) is regressor
            regressor = pickle.loads(pickle.dumps(regressor))
        assert_same_line(regressor, whole)


def test_batches_of_any_type(points: Points) -> None:
    x, y = points[0].astype(np.float32), points[1].round().astype(np.int16)
    regressor = LineRegressor().partial_fit(x[:70].astype(np.float64), y[:70].astype(np.float32))
    regressor.partial_fit(x[70:100].tolist(), y[70:100].tolist())
    regressor.partial_fit(pd.DataFrame(x[100:]), pd.Series(y[100:]))
    assert_same_line(regressor, LineRegressor().fit(x.astype(np.float64), y.astype(np.float64)))


def test_batches_add_to_a_fit_and_a_fit_starts_afresh(points: Points) -> None:
    x, y, _ = points
    regressor, whole = LineRegressor().fit(x[:50], y[:50]), LineRegressor().fit(x, y)
    assert_same_line(regressor.partial_fit(x[50:], y[50:]), whole)
    assert regressor.fit(x[:50], y[:50]).line_.n_points == 50
    descent = LineRegressor(solver="gradient_descent").partial_fit(x[:50], y[:50])
    assert descent.partial_fit(x[50:], y[50:]).n_iter_ >= 1
    assert descent.coef_[0] == pytest.approx(whole.coef_[0], rel=1e-9)


def test_there_is_no_line_before_two_different_x() -> None:
    regressor = LineRegressor()
    for missing in ("at least two points .* got 1", "two different values.* got 5.0 at all 2"):
        regressor.partial_fit([[5.0]], [1.0])
        assert not hasattr(regressor, "coef_")
        with pytest.raises(NotFittedError, match=f"so far determine no line: .*{missing}"):
            regressor.predict([[5.0]])
    assert (regressor.moments_[0].count, regressor.n_features_in_) == (2, 1)
    regressor.partial_fit([[7.0]], [2.0], sample_weight=[0.0])
    assert not hasattr(regressor, "line_")
    regressor.partial_fit([[7.0]], [2.0])
    assert regressor.predict([[9.0]]) == pytest.approx([3.0])


def test_a_line_is_dropped_when_points_no_longer_determine_one() -> None:
    regressor = LineRegressor(fit_intercept=False).partial_fit([[2.0]], [6.0])
    assert regressor.coef_ == 3.0
    regressor.set_params(fit_intercept=True).partial_fit([[2.0]], [6.0])
    assert not hasattr(regressor, "coef_")
    with pytest.raises(NotFittedError, match="at least two different values"):
        regressor.predict([[2.0]])


def test_a_bad_batch_changes_nothing(points: Points) -> None:
    x, y, _ = points
    regressor = LineRegressor()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        regressor.partial_fit([[1.0, np.nan]], [2.0])
    regressor.partial_fit(x, y)
    before = pickle.dumps(regressor)
    for bad_x, bad_y, weight, match in (
        ([[1.0]], [np.nan], None, "Input y contains NaN"),
        ([[1.0, 2.0]], [1.0], None, "X has 2 features, but LineRegressor is expecting 1"),
        ([[1.0]], [1.0], [-1.0], "sample_weight must not be negative"),
    ):
        with pytest.raises(ValueError, match=match):
            regressor.partial_fit(bad_x, bad_y, sample_weight=weight)
        assert pickle.dumps(regressor) == before


@pytest.mark.parametrize("loss", ["huber", ff.Huber()])
def test_no_batches_with_another_loss(loss: Any) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        LineRegressor(loss=loss).partial_fit([[1.0]], [1.0])
    message = "partial_fit needs loss='squared_error'; got Huber(f_scale='mad')"
    assert str(caught.value.__cause__) == message


# Among other estimators


def test_pipeline_and_cross_validation(points: Points) -> None:
    x, y, _ = points
    ours = make_pipeline(StandardScaler(), LineRegressor())
    theirs = make_pipeline(StandardScaler(), LinearRegression())
    np.testing.assert_allclose(cross_val_score(ours, x, y), cross_val_score(theirs, x, y))


def test_grid_search(points: Points) -> None:
    x, y, _ = points
    solvers = [ff.Exact(), ff.GradientDescent(tol=1e-12), ff.Newton()]
    grid: dict[str, Any] = {"fit_intercept": [True, False], "solver": solvers}
    search = GridSearchCV(LineRegressor(), grid, error_score="raise").fit(x, y)
    assert search.best_params_["fit_intercept"] is True
    scores = search.cv_results_["mean_test_score"].reshape(2, 3)
    np.testing.assert_allclose(scores, scores[:, :1] * np.ones(3), rtol=1e-9)


def test_grid_search_over_losses(points: Points) -> None:
    """Where a fifth of the points are far off, every robust loss predicts the others better."""
    x, y, _ = points
    spoilt = np.where(np.arange(200) % 5 == 0, y + 100.0, y)
    losses: list[Any] = [*LOSSES, ff.Cauchy(0.2), ff.Huber(f_scale=1.5)]
    options: Any = {"scoring": "neg_median_absolute_error", "error_score": "raise"}
    search = GridSearchCV(LineRegressor(), {"loss": losses}, **options).fit(x, spoilt)
    errors = -search.cv_results_["mean_test_score"]
    squares = losses.index("squared_error")
    assert (np.delete(errors, squares) < 0.2 * errors[squares]).all()
    best = ff.fit_line(x[:, 0], spoilt, **search.best_params_)
    assert search.best_estimator_.line_.to_dict() == best.to_dict()


def test_weights_are_routed(points: Points) -> None:
    x, y, w = points
    with config_context(enable_metadata_routing=True):
        line = LineRegressor().set_fit_request(sample_weight=True)
        line.set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), line).fit(x, y, sample_weight=w)
        assert pipeline[-1].line_.to_dict() == ff.fit_line(x, y, sample_weight=w).to_dict()
        found = cross_validate(line, x, y, params={"sample_weight": w}, return_estimator=True)
    assert found["estimator"][0].moments_[0].weight_sum == pytest.approx(w[40:].sum())


def test_clone_and_pickle(points: Points) -> None:
    x, y, w = points
    regressor = LineRegressor(loss=ff.SquaredError(), solver=ff.GradientDescent(), n_threads=1)
    regressor.fit(x, y, w)
    other = clone(regressor)
    assert other.get_params() == regressor.get_params()
    assert not hasattr(other, "line_")
    stored = pickle.dumps(regressor)
    assert len(stored) < 3000
    again = pickle.loads(stored)
    assert again.line_.to_dict() == regressor.line_.to_dict()
    np.testing.assert_array_equal(again.predict(x), regressor.predict(x))


def test_names_of_features(points: Points) -> None:
    x, y, _ = points
    frame = pd.DataFrame({"constant": 1, "hours": x[:, 0].astype(np.float32)})
    with pytest.warns(FeatureSelectionWarning, match="feature 'hours' of X .* 1 other feature was"):
        regressor = LineRegressor().fit(frame, pd.Series(y))
    assert regressor.feature_names_in_[regressor.feature_] == "hours"
    assert regressor.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names should match"):
        regressor.predict(frame[["hours", "constant"]])
    assert not hasattr(regressor.fit(x, y), "feature_names_in_")


# Errors and warnings


@pytest.mark.parametrize(
    ("x", "y", "weight", "match"),
    [
        ([[1.0], [2.0]], [1.0, 2.0], [1.0, np.nan], "Input sample_weight contains NaN"),
        ([[1.0], [2.0]], [1.0, 2.0], [1.0, -1.0], "sample_weight must not be negative; got -1.0"),
        ([[1.0], [2.0]], [1.0, 2.0], [0.0, 0.0], "above zero for some points; got zero for all"),
        ([[1.0], [2.0]], [1.0, 2.0], [1.0] * 3, "sample_weight must have the length of x and y"),
        ([[1.0], [2.0]], [1.0, 2.0, 3.0], None, "inconsistent numbers of samples"),
        ([[1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0]], None, "y should be a 1d array"),
        ([[1.0], [1.0]], [1.0, 2.0], None, "at least two different values"),
        (np.ma.masked_less([[1.0], [2.0]], 1.5), [1.0, 2.0], None, "X must not be masked"),
        ([[1.0], [2.0]], np.ma.masked_less([1.0, 2.0], 1.5), None, "y must not be masked"),
    ],
)
def test_bad_points(x: Any, y: Any, weight: Any, match: str, backend: Any) -> None:
    """Those apart that the checks of scikit-learn try: NaN, infinity, other shapes and a single sample."""
    with pytest.raises(ValueError, match=match):
        LineRegressor(backend=backend).fit(x, y, sample_weight=weight)


@pytest.mark.parametrize(
    ("name", "value", "error", "match"),
    [
        ("loss", "cubic", ValueError, "loss must be 'squared_error'.* got 'cubic'"),
        ("solver", "newtons", ValueError, "solver must be 'auto' or .* got 'newtons'"),
        ("fit_intercept", "yes", TypeError, "fit_intercept must be True or False; got 'yes'"),
        ("n_threads", 0, ValueError, "n_threads must be an integer of at least 1; got 0"),
        ("backend", "torch", ValueError, "backend must be 'numba' or 'numpy'; got 'torch'"),
    ],
)
def test_bad_parameters_are_noticed_in_fit(name: str, value: Any, error: Any, match: str) -> None:
    regressor = LineRegressor(**{name: value})
    with pytest.raises(error, match=match):
        regressor.fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 4.0])


def test_bad_predictions() -> None:
    regressor = LineRegressor()
    with pytest.raises(NotFittedError, match="LineRegressor instance is not fitted yet"):
        regressor.predict([[1.0]])
    with pytest.raises(ValueError, match="X must not be masked"):
        regressor.fit([[1.0], [2.0]], [1.0, 2.0]).predict(np.ma.masked_less([[1.0]], 1.5))


def test_warnings(points: Points) -> None:
    x, y, _ = points
    short = LineRegressor(solver=ff.GradientDescent(max_iter=1, learning_rate=0.1))
    for fit in (short.fit, short.partial_fit):
        with pytest.warns(ff.ConvergenceWarning, match="max_iter") as caught:
            fit(x, y)
        assert [warning.filename for warning in caught] == [__file__]
    assert short.n_iter_ == 1
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        LineRegressor().fit(x, y[:, None])


def test_a_missing_library_is_named(run_script: Script) -> None:
    out = run_script(
        "import sys; sys.modules['sklearn'] = None\n"
        "try: import fastfit.estimator\n"
        "except ImportError as error: print(error)"
    )
    needed = "fastfit.estimator needs scikit-learn 1.6 or later: pip install 'fastfit[sklearn]'\n"
    assert out == needed
