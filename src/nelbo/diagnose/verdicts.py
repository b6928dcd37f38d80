"""From measurements to verdicts: every limit is a constant here, with its reason.

A limit counts as passed only where the number is beyond it by two standard errors.
"""

from __future__ import annotations

__all__ = [
    "judge_baseline",
    "judge_calibration",
    "judge_collapse",
    "judge_explained",
    "judge_gap",
    "judge_information",
    "judge_memory",
    "judge_noise",
    "judge_prior",
    "judge_rare",
    "judge_rows",
    "skipped",
]

import math

from . import cures
from .calibration import Calibration
from .comparison import Baseline, Memorisation, PriorMatch
from .explained import Explained
from .finding import Finding, Value
from .gap import InferenceGap
from .information import MutualInformation, RateDistortion
from .latent import Collapse
from .rare import RareValue
from .standard_error import Estimate

DISPERSION = (1.5, 3.0)
"""Residual variance over beta^2, or its inverse, from which on beta^2 is off and far off. A factor
of 1.5 costs 0.05 to 0.1 nats for each feature, a factor of 3 costs 0.2 to 0.5: half the log of the
ratio against half the ratio less 1."""
GAP = ((1.0, 0.1), (2.0, 1.0))
"""A gap of inference matters from a nat and a tenth of the rate of q* on, all there is to say about
z. It is a problem where it costs as much as that. Good encoders lose a nat or two (Cremer et al.,
2018), those of models with a small beta^2 up to the rate on rows they have not seen."""
PRIOR = ((1.0, 0.2), (2.0, 0.4))
"""KL(q(z) || p(z)), in nats and as a share of the rate: what q(z) would need of a better prior."""
ENERGY = 0.05
"""Energy coefficient of q(z) and p(z): that of normals of which one is twice as wide, in any
dimension.
"""
PER_FEATURE = (0.06, 0.125)
"""Nats per feature that training rows are ahead: what unseen residuals of 1.12 and 1.25 times the
variance cost.
"""
CLOSER = (0.6, 0.8)
"""Share of (sample, unseen row) pairs where the sample is closer to a training row; 1/2 is
right.
"""
FURTHER = 0.1
"""The same share where samples are further off than nearly all unseen rows."""
GAIN = 0.05
"""Nats for each feature that one beta^2 per feature would add, from which on it is worth having."""
CORRELATION = 0.04
"""Mean squared correlation of residuals: 0.2 squared, as if each feature knew a twenty-fifth of
each other.
"""
BASELINE = 0.5
"""Nats that a model may stay below the linear one: what rounding and an unlucky seed cost a model
that became it.
"""
COVERAGE = 0.1
"""Distance of the coverage of the central 50 % from 50 % at which the noise has another shape than
a normal's.
"""
INACTIVE = 0.5
"""Share of useful directions up to which too few units are active. A curved sheet needs fewer than
its linear span.
"""
EXPLAINED = (0.02, 0.05)
"""Share of the variance by which z may be behind PCA: what a nonlinear encoder costs on rows it has
not seen.
"""
RARELY, OFTEN = (0.75, 0.5), (1.33, 2.0)
"""How many times as often as in the data a rare value may be drawn."""
SURE_OF_RARE = 3.5
"""Standard errors that this takes: many values are compared."""
LISTED = 3
"""Rare values that a finding tells."""


def skipped(name: str, why: str) -> Finding:
    """Return a finding that says why there is none."""
    return Finding(name, "skipped", why)


def judge_collapse(found: Collapse, noise: Calibration | None, fixed: bool) -> Finding:
    """Posterior collapse, and whether a beta^2 that is fixed too large is its cause."""
    values = [Value("active units", found.active), Value("of latent_dim", found.latent_dim)]
    if found.useful is not None and found.supported is not None:
        values += [
            Value("useful directions", found.useful),
            Value("varying more than beta^2", found.supported),
        ]
    drowned = noise is not None and noise.dispersion.below(1 / DISPERSION[1])
    few = found.useful is not None and found.useful > 0 and found.active <= INACTIVE * found.useful
    nothing = found.useful == 0
    verdict, sickness, advice = "ok", "", cures.NONE
    sentence = f"{found.active} of {found.latent_dim} latent dimensions carry information."
    if found.active == 0 and nothing:
        verdict, advice = "warning", cures.NOTHING_TO_ENCODE
        sentence = (
            "No latent dimension carries information, and no direction of the data "
            "stands out of the noise."
        )
    elif (found.active == 0 or few) and drowned and fixed:
        verdict, sickness = "problem", "posterior collapse: beta^2 is fixed far too large"
        advice = cures.BETA_LARGE
        sentence = (
            f"{found.active} of {found.latent_dim} latent dimensions are active, though "
            f"{found.useful} directions of "
            f"the data stand out: only {found.supported} vary more than beta^2, which is far above "
            "the residuals."
        )
    elif found.active == 0:
        verdict, sickness = "problem", "posterior collapse: the decoder ignores z"
        advice = cures.IGNORED
        stand = (
            ""
            if found.useful is None
            else f", though {found.useful} directions of the data stand out of the noise"
        )
        sentence = f"No latent dimension carries information{stand}."
    elif few:
        verdict, advice = "warning", cures.FEW_ACTIVE
        sentence += f" {found.useful} directions of the data stand out of the noise."
    reference = "Lucas et al., 2019" if found.useful is not None else "Burda et al., 2016"
    return Finding(
        "active units", verdict, sentence, tuple(values), "", reference, sickness, advice
    )


def judge_noise(q: Calibration, best: Calibration, fixed: bool) -> Finding:
    """Residual variance against beta^2: at the encoder's z, and at those of each row's best q,
    which acquits beta^2.
    """
    values = (
        Value("residual variance / beta^2", q.dispersion),
        Value("at the best q(z|x)", best.dispersion),
        Value("beta", q.beta),
        Value("residual (root mean square)", q.residual),
    )
    name, reference = "noise level", "Rybkin et al., 2021"
    kind = "fixed" if fixed else "learned"
    advice: tuple[cures.Cure, ...]
    for verdict, limit in (("problem", DISPERSION[1]), ("warning", DISPERSION[0])):
        far = "far " if verdict == "problem" else ""
        if best.dispersion.above(limit) and q.dispersion.above(limit):
            told = (
                f"Residuals have {best.dispersion.value:.3g} times the variance beta^2 "
                "even where z is at its best."
            )
            if fixed:
                sick, advice = f"beta^2 is fixed {far}too small", cures.BETA_SMALL
            else:
                sick = f"overfitting: beta^2, learned on training rows, is {far}too small for these"
                advice = cures.UNLIKE_TRAINING
        elif best.dispersion.below(1 / limit) and q.dispersion.below(1 / limit):
            told = f"beta^2 is {1 / q.dispersion.value:.3g} times the variance of the residuals."
            sick = f"beta^2 is {kind} {far}too large"
            advice = cures.BETA_LARGE if fixed else cures.BETA_BEHIND
        else:
            continue
        return Finding(
            name, verdict, told, values, "", reference, sick if verdict == "problem" else "", advice
        )
    sentence = "beta^2 is the variance of the residuals."
    if q.dispersion.above(DISPERSION[0]):
        sentence = (
            "beta^2 is right where z is at its best; what is off is where the encoder puts z."
        )
    return Finding(name, "ok", sentence, values, "", reference)


def judge_gap(found: InferenceGap) -> tuple[Finding, Finding]:
    """Amortisation and approximation, against what there is to say about z."""
    rate = max(found.rate.value, 0.0)
    unreliable = float(found.found.unreliable.double().mean())
    verdict = _graded(found.amortisation, [max(least, share * rate) for least, share in GAP])
    amortisation = Finding(
        "amortisation gap",
        verdict,
        (
            f"The encoder loses {found.amortisation.value:.3g} nats against the best diagonal "
            "normal "
            "of each row."
        ),
        (
            Value("ELBO(q*) - ELBO(q)", found.amortisation, "nats"),
            Value("ELBO(q)", found.elbo, "nats"),
            Value("rate of q*", found.rate, "nats"),
        ),
        "",
        "Cremer et al., 2018",
        "underfit encoder (large amortisation gap)" if verdict == "problem" else "",
        cures.NONE if verdict == "ok" else cures.ENCODER,
    )
    verdict = _graded(found.approximation, [max(least, share * rate) for least, share in GAP])
    doubt = (
        f" For {unreliable:.0%} of the rows log p(x) is a guess from below."
        if unreliable > 0.05
        else ""
    )
    approximation = Finding(
        "approximation gap",
        verdict,
        (
            f"The best diagonal normals are {found.approximation.value:.3g} nats below log "
            f"p(x).{doubt}"
        ),
        (
            Value("log p(x) - ELBO(q*)", found.approximation, "nats"),
            Value("log p(x)", found.log_p, "nats"),
        ),
        "",
        "Cremer et al., 2018",
        "the posterior family is too simple (large approximation gap)"
        if verdict == "problem"
        else "",
        cures.NONE if verdict == "ok" else cures.APPROXIMATION,
    )
    return amortisation, approximation


def judge_information(rate: RateDistortion, found: MutualInformation) -> Finding:
    """Rate, distortion and information: numbers to compare models by, without a right or wrong."""
    sentence = (
        f"Of the rate, {_range(found.lower.value, found.upper.value)} nats are information about x."
    )
    if found.saturated:
        sentence = (
            f"{found.lower.rows:,} rows can show no more than log n = {found.ceiling:.2f} nats of "
            "information about x; "
            f"the truth is up to {found.upper.value:.4g}."
        )
    values = (
        Value("rate R", rate.rate, "nats"),
        Value("distortion D", rate.distortion, "nats"),
        Value("I(x;z) at least", found.lower, "nats"),
        Value("I(x;z) at most", found.upper, "nats"),
    )
    return Finding(
        "rate", "ok", sentence, values, "", "Alemi et al., 2018; Hoffman & Johnson, 2016"
    )


def judge_prior(rate: RateDistortion, found: MutualInformation, match: PriorMatch) -> Finding:
    """Whether samples of p(z) are like those of q(z) that the decoder knows."""
    verdict = _graded(
        found.kl_lower, [max(least, share * rate.rate.value) for least, share in PRIOR]
    )
    if verdict == "ok" and match.energy.above(ENERGY):
        verdict = "warning"
    off = int(((found.variance - 1).abs() > 0.5).sum()) + int((found.mean.abs() > 0.5).sum())
    sentence = "Draws of p(z) look like those of q(z)."
    if verdict != "ok":
        sentence = (
            f"q(z) is at least {found.kl_lower.value:.3g} nats from p(z): samples start where the "
            "decoder was trained "
            f"little, and will look unlike the data; {off} means or variances of q(z) are off by "
            "more than a half."
        )
    return Finding(
        "q(z) against p(z)",
        verdict,
        sentence,
        (
            Value("KL(q(z) || p(z)) at least", found.kl_lower, "nats"),
            Value("at most", found.kl_upper, "nats"),
            Value("energy coefficient", match.energy),
        ),
        "",
        "Hoffman & Johnson, 2016",
        "q(z) is far from p(z): samples will look unlike the data" if verdict == "problem" else "",
        cures.NONE if verdict == "ok" else cures.PRIOR,
    )


def judge_calibration(found: Calibration) -> tuple[Finding, ...]:
    """Coverage, noise by feature, and what residuals know of each other."""
    half, most = found.coverage
    features = len(found.scale_by_feature)
    shape = half.above(0.5 + COVERAGE) or half.below(0.5 - COVERAGE)
    coverage = Finding(
        "coverage",
        "warning" if shape else "ok",
        f"The central 50 % intervals of p(x|z) hold {half.value:.1%} of the values, the 90 % ones "
        f"{most.value:.1%}.",
        (Value("of central 50 %", half), Value("of central 90 %", most)),
        reference="Gneiting et al., 2007",
        cures=cures.COVERAGE if shape else cures.NONE,
    )
    findings = [coverage]
    if found.gain is not None:
        uneven = found.gain > GAIN * features
        low, high = float(found.scale_by_feature.min()), float(found.scale_by_feature.max())
        findings.append(
            Finding(
                "noise by feature",
                "warning" if uneven else "ok",
                f"Residuals of single features are {low:.2g} to {high:.2g} times beta; one beta^2 "
                "for each would add "
                f"{max(found.gain, 0.0):.3g} nats per row.",
                (
                    Value("gain of one beta^2 each", found.gain, "nats"),
                    Value("smallest / beta", low),
                    Value("largest", high),
                ),
                reference="Tipping & Bishop, 1999",
                cures=cures.UNEVEN if uneven else cures.NONE,
            )
        )
    if found.correlation is not None:
        tied = found.correlation.above(CORRELATION)
        root = math.sqrt(max(found.correlation.value, 0.0))
        findings.append(
            Finding(
                "residual correlation",
                "warning" if tied else "ok",
                f"Residuals of two features correlate by {root:.2g} (root mean square): "
                + (
                    "structure is left that z does not carry."
                    if tied
                    else "little structure is left."
                ),
                (Value("mean squared correlation", found.correlation),),
                reference="Tipping & Bishop, 1999",
                cures=cures.TIED if tied else cures.NONE,
            )
        )
    return tuple(findings)


def judge_memory(found: Memorisation, features: int) -> tuple[Finding, Finding]:
    """Training rows beside unseen ones, and samples beside both."""
    verdict = _graded(found.difference, [limit * features for limit in PER_FEATURE])
    ahead = Finding(
        "train against unseen",
        verdict,
        (
            f"log p(x) of training rows is {found.difference.value:.3g} nats above that of unseen "
            "rows."
        ),
        (
            Value("train - unseen", found.difference, "nats"),
            Value("log p(x) unseen", found.test, "nats"),
        ),
        "",
        "Wu et al., 2017",
        "overfitting: log p(x) is far higher on training rows" if verdict == "problem" else "",
        cures.NONE if verdict == "ok" else cures.OVERFITTED,
    )
    copies = _graded(found.closer, list(CLOSER))
    far = found.closer.below(FURTHER)
    sentence = (
        "A sample is closer to the training rows than an unseen row is in "
        f"{found.closer.value:.0%} of pairs."
    )
    near = Finding(
        "samples against train",
        "warning" if far else copies,
        sentence + (" Samples are noisier, or smoother, than data." if far else ""),
        (
            Value("share closer than unseen", found.closer),
            Value("training rows searched", found.searched),
        ),
        "",
        "Meehan et al., 2020",
        "memorisation: samples are copies of training rows" if copies == "problem" else "",
        cures.COPIES if copies != "ok" else cures.UNLIKE_DATA if far else cures.NONE,
    )
    return ahead, near


def judge_rows(seen: int, rows: int) -> Finding:
    """Whether the rows can say at all how the model does on new ones."""
    which = (
        f"All of these {rows:,} rows were"
        if seen == rows
        else f"{seen:,} of these {rows:,} rows were"
    )
    return Finding(
        "new rows",
        "problem",
        f"{which} trained on: they cannot say how the model does on new rows, nor whether it "
        "overfits.",
        (Value("rows trained on", seen), Value("of", rows)),
        "",
        "",
        "unknown on new rows: these were trained on",
        cures.HELD_OUT,
    )


def judge_baseline(found: Baseline) -> Finding:
    """The model must not be worse than the linear one it contains."""
    worse = found.gain.below(-BASELINE)
    told = "above" if found.gain.value >= 0 else "below"
    return Finding(
        "against pPCA",
        "problem" if worse else "ok",
        f"log p(x) is {abs(found.gain.value):.3g} nats {told} that of exact pPCA of the same "
        "latent size.",
        (Value("log p(x) - pPCA", found.gain, "nats"), Value("pPCA", found.linear, "nats")),
        "",
        "Tipping & Bishop, 1999",
        "underfit: worse than exact pPCA" if worse else "",
        cures.BELOW_PPCA if worse else cures.NONE,
    )


def judge_explained(found: Explained) -> Finding:
    """Whether z carries what columns have in common, as principal components do."""
    values = [Value("R² of reconstruct", found.share)]
    sentence = f"z explains {100 * found.share.value:.0f} % of the variance"
    if found.pca is not None and found.ppca is not None:
        values += [Value("PCA", found.pca), Value("pPCA (posterior means)", found.ppca)]
        sentence += f"; as many principal components explain {100 * found.pca.value:.0f} %"
    verdict = (
        "problem"
        if found.behind(EXPLAINED[1])
        else "warning"
        if found.behind(EXPLAINED[0])
        else "ok"
    )
    return Finding(
        "explained variance",
        verdict,
        sentence + ".",
        tuple(values),
        "",
        "Tipping & Bishop, 1999",
        "z explains little of the data" if verdict == "problem" else "",
        cures.NONE if verdict == "ok" else cures.EXPLAINED,
    )


def judge_rare(found: tuple[RareValue, ...]) -> Finding:
    """Whether rare values are drawn as often as they are in the data, judged by the one furthest
    off.
    """
    sure = [entry for entry in found if abs(entry.z) > SURE_OF_RARE]
    verdict, worst = "ok", found[0]
    for grade, low, high in zip(("warning", "problem"), RARELY, OFTEN, strict=True):
        off = [entry for entry in sure if not low <= entry.ratio <= high]
        verdict, worst = (grade, off[0]) if off else (verdict, worst)
    listed = [worst, *(entry for entry in found if entry is not worst)][:LISTED]
    values = [
        Value(f"{entry.name}, {where}", number)
        for entry in listed
        for where, number in (("data", entry.data), ("samples", entry.samples))
    ]
    rarely = "rarely" if worst.ratio < 1 else "often"
    return Finding(
        "rare values",
        verdict,
        f"{worst.name} is {100 * worst.data.value:.2f} % of the data and "
        f"{100 * worst.samples.value:.2f} % of samples"
        + (f"; {len(found)} rare values were compared." if len(found) > 1 else "."),
        tuple(values),
        "",
        "",
        f"rare values are drawn too {rarely}" if verdict == "problem" else "",
        cures.NONE if verdict == "ok" else cures.RARE,
    )


def _graded(number: Estimate, limits: list[float]) -> str:
    """Return "problem", "warning" or "ok" for a number that should be small."""
    warning, problem = limits
    return "problem" if number.above(problem) else "warning" if number.above(warning) else "ok"


def _range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}" if f"{low:.3g}" != f"{high:.3g}" else f"{low:.3g}"
