"""A classifier tells samples from data only where they differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from helpers import draw, linear_gaussian, normal, rng, started
from nelbo import VAE, diagnose, likelihood, networks
from nelbo.diagnose import Estimate, TwoSample, classifier_auc, two_sample
from nelbo.posterior import DiagonalNormal
from nelbo.prior import StandardNormal

N = 500


def near_chance(found: Estimate) -> bool:
    return abs(found.value - 0.5) < 3 * found.standard_error


def test_the_interval_covers_chance_as_often_as_it_says() -> None:
    z = []
    for seed in range(25):
        data, made = np.random.default_rng(seed).normal(size=(2, 100, 2))
        found = classifier_auc(data, made, seed)
        z.append((found.value - 0.5) / found.standard_error)
    assert np.mean(np.abs(z) < 1.96) > 0.85
    assert abs(np.mean(z)) < 3 / math.sqrt(len(z))


@pytest.mark.parametrize("distance", [0.5, 1.5])
def test_of_two_normals_it_is_the_auc_of_the_best_classifier(distance: float) -> None:
    data, made = np.random.default_rng(0).normal(size=(2, 1000, 1))
    found = classifier_auc(data + distance, made)
    best = norm.cdf(distance / math.sqrt(2))
    assert best - 0.05 < found.value < best + 3 * found.standard_error


@pytest.mark.parametrize("step", [1.0, 0.3, 0.1])
def test_that_data_are_rounded_is_nothing_to_tell_them_by(exact: VAE, step: float) -> None:
    rows = draw(linear_gaussian(), N)
    rounded = (rows / step).round() * step
    found = two_sample(exact, rounded)
    assert near_chance(found.samples)
    assert near_chance(found.reconstructions)
    told = classifier_auc(rounded.numpy(), draw(linear_gaussian(), N, seed=9).numpy())
    assert told.value > 0.55  # where nothing made is rounded


def test_rows_made_from_each_other_share_a_side() -> None:
    """Copies with equal noise can be exchanged with what they were made from."""
    shared = np.random.default_rng(0).normal(size=(N, 3))
    data, made = shared + 0.05 * np.random.default_rng(1).normal(size=(2, N, 3))
    assert near_chance(classifier_auc(data, made))


@pytest.fixture(scope="module")
def exact() -> VAE:
    return started(linear_gaussian())


def test_data_of_the_model_itself_are_not_told_from_what_it_makes(exact: VAE) -> None:
    found = two_sample(exact, draw(linear_gaussian(), N))
    for name in ("samples", "reconstructions", "latents"):
        assert near_chance(getattr(found, name)), (name, getattr(found, name))
    assert found == two_sample(exact, draw(linear_gaussian(), N))
    assert found != two_sample(exact, draw(linear_gaussian(), N), seed=1)


def test_forgotten_noise_is_caught_and_the_latents_acquitted() -> None:
    noiseless = started(linear_gaussian(variance=1e-4))
    found = two_sample(noiseless, draw(linear_gaussian(), N))
    assert found.samples.value > 0.8
    assert found.reconstructions.value > 0.6
    assert near_chance(found.latents)
    sentence = diagnose.Judge().two_sample(found)[0].sentence
    assert "A classifier tells samples from data: AUC 0." in sentence
    assert "the decoder or its noise is unlike them" in sentence


def test_latents_unlike_the_prior_are_caught_and_the_noise_acquitted() -> None:
    model = linear_gaussian()
    z = 0.3 * normal(N, 2, seed=7) + 1  # where N(0, I) has its mean at 0, and deviation 1
    rows = z @ model.weight.T + model.bias + 0.3**0.5 * normal(N, 6, seed=8)
    found = two_sample(started(model), rows)
    assert found.latents.value > 0.7
    assert found.samples.value > 0.7
    assert found.reconstructions.value < 0.65
    told, other = diagnose.Judge().two_sample(found)
    assert "z ~ p(z) is unlike z ~ q(z|x)" in told.sentence
    assert (told.verdict, other.verdict) == ("warning", "ok")


def conditional() -> tuple[VAE, Tensor, Tensor]:
    """A model of x = (c, -c) + noise, its rows and their conditions."""
    decoder = networks.Linear((1 + 1,), (2,), generator=rng(1))
    with torch.no_grad():
        decoder.linear.weight.copy_(torch.tensor([[0.0, 3.0], [0.0, -3.0]]))
    encoder = networks.Conditioned(networks.Linear((2 + 1,), (2,), generator=rng(2)))
    head = likelihood.Gaussian((2,), variance=1.0)
    vae = VAE(StandardNormal(1), networks.Conditioned(decoder), head, encoder, DiagonalNormal(1))
    c = normal(N, 1, seed=3)
    return vae.double(), torch.cat([3 * c, -3 * c], 1) + normal(N, 2, seed=4), c


def test_samples_are_held_against_rows_of_the_same_condition() -> None:
    vae, x, c = conditional()
    assert near_chance(two_sample(vae, x, c=c).samples)
    # of all rows together these are samples, too: only beside c they are not
    assert two_sample(vae, x, c=c.flip(0)).samples.value > 0.8


def test_values_are_missing_in_samples_where_they_are_in_the_rows() -> None:
    model = linear_gaussian()
    exact = started(model)
    encoder = networks.Masked(networks.Linear(networks.Masked.shape((6,)), (4,), generator=rng()))
    vae = VAE(exact.prior, exact.decoder, exact.likelihood, encoder.double(), exact.posterior)
    rows = draw(model, N).masked_fill(torch.rand(N, 6, generator=rng()) < 0.3, math.nan)
    assert near_chance(two_sample(vae, rows).samples)
    complete = classifier_auc(rows.numpy(), draw(model, N, seed=9).numpy())
    assert complete.value > 0.9  # a row without gaps would be no row of these data


def test_too_few_rows_are_skipped_with_the_reason(exact: VAE) -> None:
    rows = draw(linear_gaussian(), N)
    found = diagnose.diagnose(exact, rows[:60])
    finding = found["samples against data"]
    assert finding.verdict == "skipped"
    assert "at least 100 whole rows to learn from, and there are 60" in finding.sentence
    with pytest.raises(ValueError, match="at least 100"):
        two_sample(exact, rows[:60])
    found = diagnose.diagnose(exact, rows, rows=200)
    named = {finding["name"]: finding for finding in found.to_dict()["findings"]}
    for name in ("samples against data", "reconstructions against data"):
        assert named[name]["verdict"] == "ok"
        assert "hardly tells" in named[name]["sentence"]
        assert 0.35 < named[name]["values"][0]["value"] < 0.65


def test_what_is_told_of_an_auc() -> None:
    judge = diagnose.Judge()
    chance, sure = Estimate(0.5, 0.01, 500), Estimate(0.95, 0.01, 500)
    good, bad = judge.two_sample(TwoSample(chance, chance, chance))
    assert (good.verdict, bad.verdict, good.cures) == ("ok", "ok", ())
    good, bad = judge.two_sample(TwoSample(sure, sure, sure))
    assert (good.verdict, bad.verdict) == ("warning", "warning")
    assert "AUC 0.950 (0.930 to 0.970, 0.5 is chance)" in good.sentence
