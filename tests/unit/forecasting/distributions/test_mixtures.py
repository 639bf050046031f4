"""Predictive mixtures against SciPy's distributions, numerical integration and summation, and against what defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import stdtr

from hindcast.forecasting.distributions import mixtures
from hindcast.forecasting.distributions.marginals import Binomials, Components, Normals, Poissons, Students, Symbols
from hindcast.forecasting.distributions.mixtures import Mixture
from hindcast.forecasting.forecast import Forecast
from hindcast.prep.errors import InputError

N, CHANNELS = 3, 2


def normals(rng: np.random.Generator) -> Components:
    return Normals(rng.normal(0, 3, (CHANNELS, N)), rng.uniform(0.2, 2, (CHANNELS, N)))


def students(rng: np.random.Generator) -> Components:
    shape = (CHANNELS, N)
    return Students(rng.normal(0, 3, shape), rng.uniform(0.2, 2, shape), rng.uniform(2.5, 9, shape))


def poissons(rng: np.random.Generator) -> Components:
    return Poissons(rng.uniform(0.5, 12, (CHANNELS, N)))


def binomials(rng: np.random.Generator) -> Components:
    return Binomials(np.full((CHANNELS, N), 17), rng.uniform(0.05, 0.95, (CHANNELS, N)))


def symbols(rng: np.random.Generator) -> Components:
    return Symbols(rng.dirichlet(np.ones(5), (CHANNELS, N)))


def moving_normals(rng: np.random.Generator) -> Components:
    """Of an autoregressive model: other ones for every window and step."""
    return Normals(rng.normal(0, 3, (4, 2, CHANNELS, N)), rng.uniform(0.2, 2, (4, 2, CHANNELS, N)))


CONTINUOUS, DISCRETE = (normals, students, moving_normals), (poissons, binomials, symbols)
KINDS = (*CONTINUOUS, *DISCRETE)
Kind = Callable[[np.random.Generator], Components]


def mixture_of(*kinds: Kind, seed: int = 0) -> Mixture:
    """4 windows, 2 steps ahead."""
    rng = np.random.default_rng(seed)
    return Mixture(rng.dirichlet(np.ones(N), (4, 2)), tuple(kind(rng) for kind in kinds))


def frozen(part: Any, channel: int, n: int) -> Any:
    """SciPy's distribution of one component."""
    at = (channel, n)
    if isinstance(part, Normals):
        return stats.norm(part.location[at], part.scale[at])
    if isinstance(part, Students):
        return stats.t(part.dof[at], part.location[at], part.scale[at])
    if isinstance(part, Poissons):
        return stats.poisson(part.rate[at])
    if isinstance(part, Binomials):
        return stats.binom(part.trials[at], part.probability[at])
    return stats.rv_discrete(values=(np.arange(part.table.shape[2]), part.table[at]))


def whole_numbers(mixture: Mixture, to: int = 60) -> np.ndarray:
    return np.broadcast_to(np.arange(to).reshape(-1, 1, 1, 1), (to, *mixture.shape)).astype(float)


@pytest.mark.parametrize("kind", [normals, students, poissons, binomials, symbols])
def test_one_component_is_the_distribution_of_its_name(kind: Kind) -> None:
    part: Any = kind(np.random.default_rng(0))
    x = np.arange(-2.0, 19.0) if part.discrete else np.linspace(-30, 30, 61)
    for n in range(N):
        alone = Mixture(np.eye(N)[None, n : n + 1], (part,))
        values = np.broadcast_to(x.reshape(-1, 1, 1, 1), (len(x), 1, 1, CHANNELS))
        log_density, cdf, spread = alone.log_density(values), alone.cdf(values), alone.deviation()
        for c in range(CHANNELS):
            theirs = frozen(part, c, n)
            expected = theirs.logpmf(x) if part.discrete else theirs.logpdf(x)
            np.testing.assert_allclose(log_density[:, 0, 0, c], expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(cdf[:, 0, 0, c], theirs.cdf(x), rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose([alone.mean()[0, 0, c], spread[0, 0, c]], [theirs.mean(), theirs.std()], rtol=1e-9)
            q = np.array([0.003, 0.2, 0.5, 0.95])
            np.testing.assert_allclose(alone.quantile(q)[:, 0, 0, c], theirs.ppf(q), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cdf_rises_from_0_to_1_with_the_density_as_its_slope(kind: Kind) -> None:
    mixture = mixture_of(kind)
    if kind in DISCRETE:
        x = whole_numbers(mixture)
        mass = np.exp(mixture.log_density(x))
        np.testing.assert_allclose(mass.sum(axis=0), 1, rtol=1e-12)
        np.testing.assert_allclose(mixture.cdf(x), np.cumsum(mass, axis=0), rtol=1e-10)
        np.testing.assert_array_equal(mixture.cdf(x + 0.5), mixture.cdf(x))
        assert np.isneginf(mixture.log_density(x + 0.5)).all()
        assert (mixture.cdf(np.full(mixture.shape, -0.5)) == 0).all()
    else:
        x = np.broadcast_to(np.linspace(-40, 40, 8001).reshape(-1, 1, 1, 1), (8001, *mixture.shape))
        cdf, density = mixture.cdf(x), np.exp(mixture.log_density(x))
        assert (np.diff(cdf, axis=0) >= 0).all()
        np.testing.assert_allclose(integrate.simpson(density, dx=0.01, axis=0), cdf[-1] - cdf[0], rtol=1e-9)
        slope = (cdf[4002:4003] - cdf[4000:4001]) / 0.02
        np.testing.assert_allclose(density[4001:4002], slope, rtol=1e-3)
    ends = mixture.cdf(np.array([-1e30, 1e30]).reshape(2, 1, 1, 1))
    np.testing.assert_allclose(ends, np.broadcast_to([[[[0.0]]], [[[1.0]]]], ends.shape), atol=1e-15)


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_a_quantile_of_continuous_values_inverts_the_cdf(kind: Kind) -> None:
    mixture = mixture_of(kind)
    q = np.array([1e-12, 1e-3, 0.1, 0.5, 0.77, 0.999])
    found = mixture.quantile(q)
    assert found.shape == (6, *mixture.shape)
    np.testing.assert_allclose(mixture.cdf(found), np.broadcast_to(q.reshape(-1, 1, 1, 1), found.shape), rtol=1e-10)
    np.testing.assert_array_equal(mixture.quantile(0.1), found[2])
    assert np.isneginf(mixture.quantile(0.0)).all()
    assert np.isposinf(mixture.quantile(1.0)).all()


@pytest.mark.parametrize("kind", DISCRETE)
def test_a_quantile_of_discrete_values_is_the_lowest_whose_cdf_reaches_it(kind: Kind) -> None:
    mixture = mixture_of(kind)
    for q in (0.0, 1e-6, 0.3, 0.5, 0.98):
        found = mixture.quantile(q)
        assert (mixture.cdf(found) >= q - 1e-15).all()
        assert ((mixture.cdf(found - 1) < q) | (found == 0)).all()
    values = np.ones((5, 1, 1, 1)) * mixture.quantile(np.linspace(0.1, 0.9, 5))
    np.testing.assert_array_equal([mixture.cdf(v) for v in values], mixture.cdf(values))
    highest = mixture.parts[0].top  # type: ignore[attr-defined]
    np.testing.assert_array_equal(mixture.quantile(1.0), np.full(mixture.shape, highest))


def test_a_quantile_between_narrow_components_far_apart_is_found() -> None:
    """The cdf is flat between them: Newton's method alone would leave."""
    part = Normals(np.array([[-1e4, 0.0, 1e4]]), np.array([[1e-3, 1.0, 1e-3]]))
    mixture = Mixture(np.array([[[0.25, 0.5, 0.25]]]), (part,))
    q = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    expected = [
        -1e4 + 1e-3 * stats.norm.ppf(0.4),
        stats.norm.ppf(0.1),
        0.0,
        stats.norm.ppf(0.9),
        1e4 + 1e-3 * stats.norm.ppf(0.6),
    ]
    np.testing.assert_allclose(mixture.quantile(q)[:, 0, 0, 0], expected, rtol=1e-9, atol=1e-9)


def test_a_quantile_is_found_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's method that ends on the border of its bracket must not begin again by bisection."""
    slopes = []
    density = mixtures._log_density
    monkeypatch.setattr(mixtures, "_log_density", lambda *given: slopes.append(1) or density(*given))
    mixture = mixture_of(normals)
    for q in (0.05, 0.5, 0.95, 0.999):
        mixture.quantile(q)
        assert len(slopes) < 20
        slopes.clear()


def test_a_quantile_in_the_tail_of_almost_no_degrees_of_freedom_is_found() -> None:
    mixture = Mixture(np.ones((1, 1, 1)), (Students(np.zeros((1, 1)), np.ones((1, 1)), np.full((1, 1), 0.1)),))
    x = mixture.quantile(1e-9)
    assert x < -1e80
    np.testing.assert_allclose(mixture.cdf(x), 1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_crps_is_the_integral_that_defines_it(kind: Kind) -> None:
    """Integral of (F(y) − 1{y ≥ x})² (Matheson and Winkler 1976)."""
    mixture = mixture_of(kind)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 15, mixture.shape).astype(float) if kind in DISCRETE else rng.normal(0, 4, mixture.shape)
    found = mixture.crps(x)
    if kind in DISCRETE:
        y = whole_numbers(mixture, 80)
        expected = ((mixture.cdf(y) - (y >= x)) ** 2).sum(axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        return
    for w, h, c in np.ndindex(mixture.shape):
        one = mixture.parts[0].of(slice(w, w + 1))
        alone = Mixture(mixture.weights[w : w + 1], (one,))

        def below(y: np.ndarray, alone: Mixture = alone, h: int = h, c: int = c) -> np.ndarray:
            return alone.cdf(np.broadcast_to(np.reshape(y, (-1, 1, 1, 1)), (np.size(y), *alone.shape)))[:, 0, h, c]

        left, right = (_integrated(lambda u, s=s, f=below, y=x[w, h, c]: (f(y + s * u) - (s > 0)) ** 2) for s in (-1, 1))
        np.testing.assert_allclose(found[w, h, c], left + right, rtol=1e-6)


def _integrated(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """From 0 to infinity, on u = sinh: Gauss-Legendre pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(0, 24, 121)
    t = (edges[:-1, None] + np.diff(edges)[:, None] * (nodes + 1) / 2).ravel()
    w = (np.diff(edges)[:, None] * weights / 2).ravel()
    return float((w * function(np.sinh(t)) * np.cosh(t)).sum())


def test_the_crps_of_students_with_hardly_a_mean_is_exact_to_1e_6() -> None:
    """Narrow beside wide, near and far: E |X − X'| against SciPy's quadrature of F (1 − G) + G (1 − F)."""
    location, scale, dof = np.array([[0.0, 50.0, -3.0]]), np.array([[0.01, 1.0, 30.0]]), np.array([[1.5, 150.0, 1.1]])
    found = Students(location, scale, dof).spread[0]
    t = np.linspace(-100, 600, 100001)
    u = np.exp(t / 2)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        total = 0.0
        for y in (location[0, i] - u, location[0, i] + u):
            z = (y[:, None] - location[0]) / scale[0]
            below, above = stdtr(dof[0], z), stdtr(dof[0], -z)
            total += integrate.trapezoid((below[:, i] * above[:, j] + above[:, i] * below[:, j]) * u / 2, x=t)
        np.testing.assert_allclose([found[i, j], found[j, i]], total, rtol=1e-6)


def test_deviations_that_do_not_exist_are_infinite() -> None:
    dof = np.array([[3.0, 2.0, 1.0]])
    part = Students(np.array([[0.0, 1.0, 2.0]]), np.ones((1, 3)), dof)
    weights = np.array([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
    mixture = Mixture(weights, (part,))
    np.testing.assert_allclose(mixture.deviation()[0, :, 0], [np.sqrt(3), np.inf, np.inf])
    np.testing.assert_allclose(mixture.mean()[0, :, 0], [0.0, 0.5, 2.0])
    score = mixture.crps(np.zeros((1, 3, 1)))[0, :, 0]
    assert np.isfinite(score[:2]).all()
    assert np.isnan(score[2])


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_and_the_distribution(kind: Kind) -> None:
    mixture, count = mixture_of(kind), 20_000
    drawn = mixture.sample(count, np.random.default_rng(5))
    assert drawn.shape == (count, *mixture.shape)
    error = mixture.deviation() / np.sqrt(count)
    assert (np.abs(drawn.mean(axis=0) - mixture.mean()) < 4.5 * error).all()
    for q in (0.1, 0.5, 0.9):
        x = mixture.quantile(q)
        below, expected = (drawn <= x).mean(axis=0), mixture.cdf(x)
        assert (np.abs(below - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count) + 1e-12).all()


def test_draws_of_a_step_come_of_one_component_for_all_channels() -> None:
    part = Normals(np.array([[-100.0, 100.0], [-100.0, 100.0]]), np.ones((2, 2)))
    drawn = Mixture(np.full((1, 1, 2), 0.5), (part,)).sample(500, np.random.default_rng(0))
    assert (np.sign(drawn[..., 0]) == np.sign(drawn[..., 1])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_other_units_change_values_and_nothing_else(kind: Kind) -> None:
    mixture = mixture_of(kind)
    rng = np.random.default_rng(2)
    centre, scale = rng.normal(0, 5, (2, 4, CHANNELS))
    scale = np.abs(scale) + 0.5
    there = mixture.in_units(centre, scale).in_units(scale, np.full_like(scale, 2.0))
    x = mixture.quantile(0.6)
    y = (x * scale[:, None] + centre[:, None]) * 2 + scale[:, None]
    np.testing.assert_allclose(there.quantile(0.6), y, rtol=1e-12)
    np.testing.assert_allclose(there.deviation(), mixture.deviation() * 2 * scale[:, None], rtol=1e-12)
    np.testing.assert_allclose(there.mean(), (mixture.mean() * scale[:, None] + centre[:, None]) * 2 + scale[:, None], rtol=1e-12)
    if kind in CONTINUOUS:
        np.testing.assert_allclose(there.cdf(y), mixture.cdf(x), rtol=1e-12)
        expected = mixture.log_density(x) - np.log(2 * scale[:, None])
        np.testing.assert_allclose(there.log_density(y), expected, rtol=1e-12)
        np.testing.assert_allclose(there.crps(y), mixture.crps(x) * 2 * scale[:, None], rtol=1e-9)


def test_whole_numbers_stay_whole_in_other_units_and_back() -> None:
    mixture = mixture_of(poissons)
    centre, scale = np.full((4, CHANNELS), 0.1), np.full((4, CHANNELS), 0.3)
    x = mixture.quantile(0.6)
    y = x * 0.3 + 0.1
    there = mixture.in_units(centre, scale)
    np.testing.assert_allclose(there.log_density(y), mixture.log_density(x), rtol=1e-12)
    np.testing.assert_allclose(there.cdf(y), mixture.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(there.crps(y), mixture.crps(x) * 0.3, rtol=1e-12)


def test_channels_of_several_kinds_stand_beside_each_other() -> None:
    both, first, second = mixture_of(normals, poissons), mixture_of(normals), mixture_of(normals, poissons)
    second = Mixture(second.weights, second.parts[1:])
    assert both.shape == (4, 2, 4)
    x = both.quantile(0.4)
    for verb in ("cdf", "log_density", "crps"):
        expected = np.concatenate([getattr(first, verb)(x[..., :2]), getattr(second, verb)(x[..., 2:])], axis=-1)
        np.testing.assert_array_equal(getattr(both, verb)(x), expected)
    np.testing.assert_array_equal(both.mean(), np.concatenate([first.mean(), second.mean()], axis=-1))
    assert both.sample(3, np.random.default_rng(0)).shape == (3, 4, 2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_at_once_change_nothing(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = mixture_of(kind)
    x = mixture.quantile(np.array([0.2, 0.7]))
    together = [mixture.cdf(x), mixture.log_density(x), mixture.crps(x), mixture.deviation()]
    monkeypatch.setattr(mixtures, "NUMBERS_AT_ONCE", 1)
    apart = [mixture.cdf(x), mixture.log_density(x), mixture.crps(x), mixture.deviation()]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(mixture.quantile(0.2), x[0], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_of_what_was_not_measured_nothing_is_said(kind: Kind) -> None:
    mixture = mixture_of(kind)
    x = mixture.quantile(0.5)
    x[0, 0, 0] = np.nan
    for verb in (mixture.cdf, mixture.log_density, mixture.crps):
        said = verb(x)
        assert np.isnan(said[0, 0, 0])
        assert np.isfinite(said[1:]).all()


def test_a_probability_outside_of_0_and_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"q: found 1\.5"):
        mixture_of(normals).quantile(1.5)


def test_a_forecast_computes_its_distribution_when_asked_and_in_its_units() -> None:
    mixture = mixture_of(normals)
    forecast = Forecast(mixture.mean(), mixture.deviation(), lambda windows: Mixture(mixture.weights[windows], mixture.parts))
    centre, scale = np.random.default_rng(0).uniform(1, 3, (2, 4, CHANNELS))
    there = forecast.in_units(centre, scale)
    np.testing.assert_allclose(there.density().mean(), there.mean, rtol=1e-12)
    np.testing.assert_allclose(there.density(slice(1, 3)).deviation(), there.deviation[1:3], rtol=1e-12)  # type: ignore[index]
    with pytest.raises(InputError, match="no distribution"):
        Forecast(mixture.mean()).density()
