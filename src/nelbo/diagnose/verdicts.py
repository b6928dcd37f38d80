"""From measurements to verdicts: every limit is a field of `Judge`, with its reason.

A limit counts as passed only where the number is beyond it by two standard errors.
"""

from __future__ import annotations

__all__ = ["Judge"]

import math
from dataclasses import dataclass

from .amortised import Amortised
from .calibration import Calibration
from .comparison import Baseline, Memorisation, PriorMatch
from .explained import Explained
from .finding import Check, Finding, Value, Verdict
from .gap import InferenceGap
from .information import MutualInformation, RateDistortion
from .latent import Collapse
from .rare import RareValue
from .remedies import remedies
from .standard_error import Estimate
from .two_sample import TwoSample


@dataclass(frozen=True)
class Judge:
    """Limits, and the findings that follow from them.

    Fields that are pairs hold the limit of a warning and that of a problem.

    Attributes:
        dispersion: Residual variance over beta^2, or its inverse, from which on beta^2 is off and
            far off. A factor of 1.5 costs 0.05 to 0.1 nats for each feature, a factor of 3 costs
            0.2 to 0.5: half the log of the ratio against half the ratio less 1.
        gap: A gap of inference, in nats and as a share of the rate of q*, which is all there is to
            say about z: the larger of the two counts. Good encoders lose a nat or two (Cremer et
            al., 2018), those of models with a small beta^2 up to the rate on rows they have not
            seen. The second pair is for the approximation alone.
        lost: Share of what reconstructions at the best z explain that those at the encoder's z do
            not, from which on an amortisation gap is a problem. Encoders of digits and Frey faces
            that take a few nats or twice the rate lose 0.01 to 0.12 on rows they have not seen; one
            that knows nothing loses more than all.
        prior: KL(q(z) || p(z)), in nats and as a share of the rate: what q(z) would gain by a
            better prior.
        energy: Energy coefficient of q(z) and p(z): that of normals of which one is twice as wide,
            in any dimension.
        ahead_per_feature: Nats per feature by which training rows are ahead: what unseen residuals
            of 1.12 and 1.25 times the variance cost.
        closer: Share of (sample, unseen row) pairs where the sample is closer to a training row;
            1/2 is right.
        further: The same share where samples are further off than nearly all unseen rows.
        gain_per_feature: Nats for each feature that one beta^2 per feature would add, from which on
            it is worth having.
        correlation: Mean squared correlation of residuals: 0.2 squared, as if each feature knew a
            twenty-fifth of each other.
        below_ppca: Nats that a model may stay below the linear one: what rounding and an unlucky
            seed cost a model that became it.
        coverage: Distance of the coverage of the central 50 % from 50 % at which the noise has
            another shape than a normal's.
        inactive: Share of useful directions up to which too few units are active. A curved sheet
            needs fewer than its linear span.
        behind_pca: Share of the variance by which z may be behind PCA: what a nonlinear encoder
            costs on rows it has not seen.
        rarely: How many times as often as in the data a rare value is drawn, at least.
        often: How many times as often as in the data a rare value is drawn, at most.
        sure_of_rare: Standard errors by which the share of a rare value must be off, since many are
            compared.
        rare_listed: Rare values that a finding shows.
        told_apart: AUC from which on a classifier tells what a model makes from data: that of
            normals whose means are a third of a deviation apart.
    """

    dispersion: tuple[float, float] = (1.5, 3.0)
    gap: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.1), (2.0, 1.0))
    lost: float = 0.25
    prior: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.2), (2.0, 0.4))
    energy: float = 0.05
    ahead_per_feature: tuple[float, float] = (0.06, 0.125)
    closer: tuple[float, float] = (0.6, 0.8)
    further: float = 0.1
    gain_per_feature: float = 0.05
    correlation: float = 0.04
    below_ppca: float = 0.5
    coverage: float = 0.1
    inactive: float = 0.5
    behind_pca: tuple[float, float] = (0.02, 0.05)
    rarely: tuple[float, float] = (0.75, 0.5)
    often: tuple[float, float] = (1.33, 2.0)
    sure_of_rare: float = 3.5
    rare_listed: int = 3
    told_apart: float = 0.6

    # -- z and its noise

    def collapse(self, found: Collapse, noise: Calibration | None, fixed: bool) -> Finding:
        """Judge posterior collapse, and whether a beta^2 that is fixed too large causes it.

        Arguments:
            found: Active units and useful directions.
            noise: Residuals at the encoder's z; None where p(x|z) is not Gaussian.
            fixed: Whether beta^2 is fixed.
        """
        check = Check("active units", "Burda et al., 2016")
        values = [Value("active units", found.active), Value("of latent_dim", found.latent_dim)]
        sentence = f"{found.active} of {found.latent_dim} latent dimensions carry information."
        none = "No latent dimension carries information"
        if found.useful is None or found.supported is None:
            if found.active:
                return check.found("ok", sentence, values)
            return check.found("problem", f"{none}.", values, **_ignored())
        check = Check("active units", "Lucas et al., 2019")
        values += [
            Value("useful directions", found.useful),
            Value("varying more than beta^2", found.supported),
        ]
        stand_out = f"{found.useful} directions of the data stand out of the noise"
        few = found.active <= self.inactive * found.useful
        if found.active and not few:
            return check.found("ok", sentence, values)
        if found.useful == 0:
            return check.found(
                "warning",
                f"{none}, and no direction of the data stands out of the noise.",
                values,
                cures=remedies()["nothing to encode"],
            )
        if fixed and noise is not None and noise.dispersion.below(1 / self.dispersion[1]):
            return check.found(
                "problem",
                f"{found.active} of {found.latent_dim} latent dimensions are active, though "
                f"{found.useful} directions of the data stand out: only {found.supported} vary "
                "more than beta^2, which is far above the residuals.",
                values,
                cause="posterior collapse: beta^2 is fixed far too large",
                cures=remedies()["beta^2 too large"],
            )
        if found.active == 0:
            return check.found("problem", f"{none}, though {stand_out}.", values, **_ignored())
        return check.found(
            "warning",
            f"{sentence} {stand_out}.",
            values,
            cures=remedies()["few active units"],
        )

    def noise(self, q: Calibration, best: Calibration, fixed: bool) -> Finding:
        """Judge beta^2 by the residual variance, at the encoder's z and at those of each row's best
        q: beta^2 is wrong only where both say so.
        """
        check = Check("noise level", "Rybkin et al., 2021")
        values = (
            Value("residual variance / beta^2", q.dispersion),
            Value("at the best q(z|x)", best.dispersion),
            Value("beta", q.beta),
            Value("residual (root mean square)", q.residual),
        )
        grades: tuple[tuple[Verdict, str, float], ...] = (
            ("problem", "far ", self.dispersion[1]),
            ("warning", "", self.dispersion[0]),
        )
        for verdict, far, limit in grades:
            if q.dispersion.above(limit) and best.dispersion.above(limit):
                told = (
                    f"The residual variance is {best.dispersion.value:.3g} times beta^2 even where "
                    "z is at its best."
                )
                return check.found(verdict, told, values, **_too_small(fixed, far))
            if q.dispersion.below(1 / limit) and best.dispersion.below(1 / limit):
                told = f"beta^2 is {1 / q.dispersion.value:.3g} times the residual variance."
                return check.found(verdict, told, values, **_too_large(fixed, far))
        if q.dispersion.above(self.dispersion[0]):
            told = "beta^2 is right where z is at its best; it is the encoder that misplaces z."
            return check.found("ok", told, values)
        return check.found("ok", "beta^2 agrees with the residual variance.", values)

    def gaps(self, found: InferenceGap, lost: Amortised) -> tuple[Finding, Finding]:
        """Judge amortisation and approximation, against what there is to say about z.

        An amortisation gap lowers the ELBO, and no score that fits q to each row: it is a problem
        only where z and reconstructions are bad, too.

        Arguments:
            found: The gaps, in nats.
            lost: What the encoder's z explain beside the best z.
        """
        rate = max(found.rate.value, 0.0)
        verdict = _warning(found.amortisation.above(_larger(self.gap, rate)[0]))
        sentence = (
            f"The encoder loses {found.amortisation.value:.3g} nats against the best "
            f"{found.family} of each row."
        )
        if verdict != "ok":
            sentence += _lost(lost)
            if lost.lost.above(self.lost):
                verdict = "problem"
        amortisation = Check(
            "amortisation gap",
            "Cremer et al., 2018",
            "underfit encoder (large amortisation gap)",
            remedies()["weak encoder"],
        ).found(
            verdict,
            sentence,
            (
                Value("ELBO(q*) - ELBO(q)", found.amortisation, "nats"),
                Value("ELBO(q)", found.elbo, "nats"),
                Value("rate of q*", found.rate, "nats"),
                Value("R² at its means", lost.encoder),
                Value("at those of q*", lost.best),
                Value("rows looked at", found.elbo.rows),
            ),
        )
        told = f"The best {found.family}s are {found.approximation.value:.3g} nats below log p(x)."
        unreliable = float(found.found.unreliable.double().mean())
        if unreliable > 0.05:
            told += f" For {unreliable:.0%} of the rows log p(x) is only a lower bound."
        approximation = Check(
            "approximation gap",
            "Cremer et al., 2018",
            "the posterior family is too simple (large approximation gap)",
            remedies()["simple posterior"],
        ).found(
            _graded(found.approximation, _larger(self.gap, rate)),
            told,
            (
                Value("log p(x) - ELBO(q*)", found.approximation, "nats"),
                Value("log p(x)", found.log_p, "nats"),
                Value("rows looked at", found.log_p.rows),
            ),
        )
        return amortisation, approximation

    def explained(self, found: Explained) -> Finding:
        """Judge whether z carries what columns have in common, as principal components do."""
        values = [Value("R² of reconstruct", found.share)]
        sentence = f"z explains {100 * found.share.value:.0f} % of the variance"
        if found.pca is not None and found.ppca is not None:
            values += [Value("PCA", found.pca), Value("pPCA (posterior means)", found.ppca)]
            sentence += f"; as many principal components explain {100 * found.pca.value:.0f} %"
        verdict: Verdict = "ok"
        if found.behind(self.behind_pca[1]):
            verdict = "problem"
        elif found.behind(self.behind_pca[0]):
            verdict = "warning"
        return Check(
            "explained variance",
            "Tipping & Bishop, 1999",
            "z explains little of the data",
            remedies()["z explains little"],
        ).found(verdict, f"{sentence}.", values)

    def information(self, rate: RateDistortion, found: MutualInformation) -> Finding:
        """Report rate, distortion and information, which compare models: none is right or wrong."""
        told = (
            f"{_range(found.lower.value, found.upper.value)} nats of the rate are information "
            "about x."
        )
        if found.saturated:
            told = (
                f"{found.lower.rows:,} rows can show no more than log n = {found.ceiling:.2f} nats "
                f"of information about x; the truth is up to {found.upper.value:.4g}."
            )
        return Check("rate", "Alemi et al., 2018; Hoffman & Johnson, 2016").found(
            "ok",
            told,
            (
                Value("rate R", rate.rate, "nats"),
                Value("distortion D", rate.distortion, "nats"),
                Value("I(x;z) at least", found.lower, "nats"),
                Value("I(x;z) at most", found.upper, "nats"),
            ),
        )

    def matching_prior(
        self, rate: RateDistortion, found: MutualInformation, match: PriorMatch
    ) -> Finding:
        """Judge whether samples of p(z) are like those of q(z), which the decoder knows."""
        verdict = _graded(found.kl_lower, _larger(self.prior, rate.rate.value))
        if verdict == "ok" and match.energy.above(self.energy):
            verdict = "warning"
        off = int(((found.variance - 1).abs() > 0.5).sum()) + int((found.mean.abs() > 0.5).sum())
        told = (
            f"q(z) is at least {found.kl_lower.value:.3g} nats from p(z): samples start where the "
            "decoder has seen little training, and will look unlike the data; "
            f"{off} means or variances of q(z) differ from those of N(0, I) by more than 0.5."
        )
        if verdict == "ok":
            told = "Draws of p(z) look like those of q(z)."
        return Check(
            "q(z) against p(z)",
            "Hoffman & Johnson, 2016",
            "q(z) is far from p(z): samples will look unlike the data",
            remedies()["prior mismatch"],
        ).found(
            verdict,
            told,
            (
                Value("KL(q(z) || p(z)) at least", found.kl_lower, "nats"),
                Value("at most", found.kl_upper, "nats"),
                Value("energy coefficient", match.energy),
            ),
        )

    # -- residuals

    def calibration(self, found: Calibration) -> tuple[Finding, ...]:
        """Judge coverage, noise by feature and correlated residuals, where they were measured."""
        findings = [self._coverage(found)]
        if found.gain is not None:
            findings.append(self._uneven(found, found.gain))
        if found.correlation is not None:
            findings.append(self._correlated(found.correlation))
        return tuple(findings)

    def _coverage(self, found: Calibration) -> Finding:
        half, most = found.coverage
        off = half.above(0.5 + self.coverage) or half.below(0.5 - self.coverage)
        return Check("coverage", "Gneiting et al., 2007", cures=remedies()["coverage"]).found(
            _warning(off),
            f"The central 50 % intervals of p(x|z) hold {half.value:.1%} of the values, the 90 % "
            f"ones {most.value:.1%}.",
            (Value("of central 50 %", half), Value("of central 90 %", most)),
        )

    def _uneven(self, found: Calibration, gain: float) -> Finding:
        low, high = float(found.scale_by_feature.min()), float(found.scale_by_feature.max())
        return Check(
            "noise by feature", "Tipping & Bishop, 1999", cures=remedies()["uneven noise"]
        ).found(
            _warning(gain > self.gain_per_feature * len(found.scale_by_feature)),
            f"Residuals of single features are {low:.2g} to {high:.2g} times beta; one beta^2 for "
            f"each would add {max(gain, 0.0):.3g} nats per row.",
            (
                Value("gain of one beta^2 each", gain, "nats"),
                Value("smallest / beta", low),
                Value("largest", high),
            ),
        )

    def _correlated(self, correlation: Estimate) -> Finding:
        tied = correlation.above(self.correlation)
        left = {
            True: "z does not capture all of the structure",
            False: "little structure is left",
        }
        root = math.sqrt(max(correlation.value, 0.0))
        return Check(
            "residual correlation",
            "Tipping & Bishop, 1999",
            cures=remedies()["correlated residuals"],
        ).found(
            _warning(tied),
            f"Residuals of two features correlate by {root:.2g} (root mean square): {left[tied]}.",
            (Value("mean squared correlation", correlation),),
        )

    # -- rows and samples

    def memory(
        self, found: Memorisation, features: int, gain: Estimate | None = None
    ) -> tuple[Finding, Finding]:
        """Judge overfitting by training rows beside unseen ones, and memorisation by samples.

        A model that knows training rows far better than others is broken only where it is no better
        on the others than the linear one, too: else it could be better still.

        Arguments:
            found: The measurements.
            features: Values of one row.
            gain: By how much log p(x) of unseen rows is above pPCA's, where that is known.
        """
        low, high = self.ahead_per_feature
        verdict = _graded(found.difference, (low * features, high * features))
        told = (
            f"log p(x) of training rows is {found.difference.value:.3g} nats above that of unseen "
            "rows"
        )
        if verdict == "problem" and gain is not None and gain.above(0):
            verdict = "warning"
            told += (
                f": it overfits, though on unseen rows it is still {gain.value:.3g} nats above "
                "exact pPCA"
            )
        ahead = Check(
            "train against unseen",
            "Wu et al., 2017",
            "overfitting: log p(x) is far higher on training rows",
            remedies()["overfitting"],
        ).found(
            verdict,
            f"{told}.",
            (
                Value("train - unseen", found.difference, "nats"),
                Value("log p(x) unseen", found.test, "nats"),
            ),
        )
        check = Check(
            "samples against train",
            "Meehan et al., 2020",
            "memorisation: samples are copies of training rows",
            remedies()["memorisation"],
        )
        values = (
            Value("share closer than unseen", found.closer),
            Value("training rows searched", found.searched),
        )
        told = (
            "A sample is closer to the training rows than an unseen row is in "
            f"{found.closer.value:.0%} of pairs."
        )
        if found.closer.below(self.further):
            told += " Samples are noisier, or smoother, than the data."
            unlike = remedies()["samples unlike the data"]
            return ahead, check.found("warning", told, values, cures=unlike)
        return ahead, check.found(_graded(found.closer, self.closer), told, values)

    def two_sample(self, found: TwoSample) -> tuple[Finding, Finding]:
        """Judge whether a classifier tells samples, and reconstructions, from data."""
        limit = self.told_apart
        worse_noise, worse_z = found.reconstructions.above(limit), found.latents.above(limit)
        of_noise, reference = (
            remedies()["reconstructions unlike the data"],
            "Lopez-Paz & Oquab, 2017",
        )
        of_samples = {True: remedies()["prior mismatch"], False: of_noise}[worse_z]
        samples = Check("samples against data", reference, cures=of_samples)
        reconstructions = Check("reconstructions against data", reference, cures=of_noise)
        told = _told_apart("samples", found.samples, limit)
        if found.samples.above(limit):
            told += (
                " Reconstructions, noise included, are told from data, too: the decoder or its "
                "noise is unlike them."
            ) * worse_noise
            told += (
                " z ~ p(z) is unlike z ~ q(z|x): their f(z) are told apart without noise."
            ) * worse_z
        return (
            samples.found(
                _warning(found.samples.above(limit)),
                told,
                (
                    Value("AUC, 0.5 is chance", found.samples),
                    Value("of f(z), z ~ p(z) and q(z|x)", found.latents),
                ),
            ),
            reconstructions.found(
                _warning(worse_noise),
                _told_apart("x' ~ p(x'|z), z ~ q(z|x),", found.reconstructions, limit),
                (Value("AUC, 0.5 is chance", found.reconstructions),),
            ),
        )

    def rows(self, seen: int, rows: int) -> Finding:
        """Report that rows say nothing about new ones: the model was trained on ``seen``."""
        which = f"{seen:,} of these {rows:,} rows were"
        if seen == rows:
            which = f"All of these {rows:,} rows were"
        return Check(
            "new rows",
            cause="unknown on new rows: these were trained on",
            cures=remedies()["rows trained on"],
        ).found(
            "problem",
            f"{which} trained on: they cannot say how the model does on new rows, nor whether it "
            "overfits.",
            (Value("rows trained on", seen), Value("of", rows)),
        )

    def baseline(self, found: Baseline) -> Finding:
        """Judge whether the model is worse than the linear one it contains."""
        verdict: Verdict = "ok"
        if found.gain.below(-self.below_ppca):
            verdict = "problem"
        side = {True: "below", False: "above"}[found.gain.value < 0]
        return Check(
            "against pPCA",
            "Tipping & Bishop, 1999",
            "underfit: worse than exact pPCA",
            remedies()["worse than pPCA"],
        ).found(
            verdict,
            f"log p(x) is {abs(found.gain.value):.3g} nats {side} that of exact pPCA of the same "
            "latent size.",
            (
                Value("log p(x) - pPCA", found.gain, "nats"),
                Value("pPCA", found.linear, "nats"),
                Value("rows looked at", found.gain.rows),
            ),
        )

    def rare(self, found: tuple[RareValue, ...]) -> Finding:
        """Judge whether rare values are drawn as often as they occur, by the one furthest off.

        Arguments:
            found: At least one, those first that differ most.
        """
        sure = [entry for entry in found if abs(entry.z) > self.sure_of_rare]
        verdict: Verdict = "ok"
        worst = found[0]
        grades: tuple[Verdict, ...] = ("warning", "problem")
        for grade, low, high in zip(grades, self.rarely, self.often, strict=True):
            off = [entry for entry in sure if not low <= entry.ratio <= high]
            if off:
                verdict, worst = grade, off[0]
        often = {True: "rarely", False: "often"}[worst.ratio < 1]
        listed = [worst, *(entry for entry in found if entry is not worst)][: self.rare_listed]
        told = (
            f"{worst.name} is {100 * worst.data.value:.2f} % of the data and "
            f"{100 * worst.samples.value:.2f} % of samples"
        )
        if len(found) > 1:
            told += f"; {len(found)} rare values were compared"
        return Check(
            "rare values",
            cause=f"rare values are drawn too {often}",
            cures=remedies()["rare values"],
        ).found(
            verdict,
            f"{told}.",
            (
                Value(f"{entry.name}, {where}", number)
                for entry in listed
                for where, number in (("data", entry.data), ("samples", entry.samples))
            ),
        )


def _ignored() -> dict[str, object]:
    return {
        "cause": "posterior collapse: the decoder ignores z",
        "cures": remedies()["z is ignored"],
    }


def _too_small(fixed: bool, far: str) -> dict[str, object]:
    """Return cause and cures of a beta^2 below the residual variance."""
    if fixed:
        return {
            "cause": f"beta^2 is fixed {far}too small",
            "cures": remedies()["beta^2 too small"],
        }
    return {
        "cause": f"overfitting: beta^2, learned on training rows, is {far}too small for these",
        "cures": remedies()["unlike the training rows"],
    }


def _too_large(fixed: bool, far: str) -> dict[str, object]:
    """Return cause and cures of a beta^2 above the residual variance."""
    if fixed:
        return {
            "cause": f"beta^2 is fixed {far}too large",
            "cures": remedies()["beta^2 too large"],
        }
    return {
        "cause": f"beta^2 is learned {far}too large",
        "cures": remedies()["beta^2 not yet learned"],
    }


def _told_apart(what: str, found: Estimate, limit: float) -> str:
    """Say how well a classifier tells what a model makes from data, with a 95 % interval."""
    low, high = (found.value + side * 1.96 * found.standard_error for side in (-1, 1))
    said = f"AUC {found.value:.3f} ({low:.3f} to {min(high, 1.0):.3f}, 0.5 is chance)"
    if found.above(limit):
        return f"A classifier tells {what} from data: {said}."
    return f"A classifier hardly tells {what} from data: {said}."


def _lost(found: Amortised) -> str:
    """Say what a gap of the encoder does, and what it does not."""
    own, best = 100 * found.encoder.value, 100 * found.best.value
    told = (
        f" At its z the decoder explains {own:.0f} % of the variance, at the best z {best:.0f} %."
    )
    if found.of_z:
        told = f" Its z explain {own:.0f} % of the variance of the best z."
    return (
        f"{told} That lowers the ELBO, but neither the refined bound nor the default score, which "
        "fit q to each row."
    )


def _larger(
    limits: tuple[tuple[float, float], tuple[float, float]], rate: float
) -> tuple[float, float]:
    """Return the larger of some nats and a share of the rate, for a warning and for a problem."""
    (nats, share), (most_nats, most_share) = limits
    return max(nats, share * rate), max(most_nats, most_share * rate)


def _graded(number: Estimate, limits: tuple[float, float]) -> Verdict:
    """Return the verdict on a number that should be small."""
    warning, problem = limits
    if number.above(problem):
        return "problem"
    return _warning(number.above(warning))


def _warning(off: bool) -> Verdict:
    if off:
        return "warning"
    return "ok"


def _range(low: float, high: float) -> str:
    """Return two numbers as a range, or as one where they print alike."""
    return " to ".join(dict.fromkeys((f"{low:.3g}", f"{high:.3g}")))
