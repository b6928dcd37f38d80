"""Your own networks and your own objective, with the same loop and the same evaluation."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from nelbo import (
    VAE,
    distributions,
    evaluate,
    fit,
    likelihood,
    objective,
    posterior,
    prior,
)
from nelbo.linear import moments, ppca

LATENT_DIM = 6
x = torch.tensor(load_digits().data, dtype=torch.float32)
x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
# one scale for all pixels; these units are the ones every number below is in
x = (x - x.mean(0)) / x.std()
train, valid, test = x[:1200], x[1200:1400], x[1400:]


def gated(inputs: int, outputs: int) -> nn.Module:
    """Any module will do if it maps (n, inputs) to (n, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.GLU(), nn.Linear(128, 256), nn.GLU(), nn.Linear(128, outputs)
    )


class StickingTheLanding(objective.Objective):
    """The ELBO without the score of q, whose mean is zero (Roeder et al., 2017)."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        terms = self.vae.terms(x, self.samples, generator)
        q = distributions.DiagonalNormal(terms.q.mean.detach(), terms.q.stddev.detach())
        return (terms.log_lik + terms.log_prior - q.log_prob(terms.z)).mean(0)


linear = ppca(*moments(train), LATENT_DIM).log_prob(test).mean().item()
print(f"{'exact pPCA':20} log p(x) {linear:.2f}")
results = []
for cls in (objective.ELBO, objective.IWAE, StickingTheLanding):
    torch.manual_seed(0)  # the weights of nn.Linear; fit itself never reads the global generator
    head, q_head = (
        likelihood.Gaussian((64,), variance="learned"),
        posterior.DiagonalNormal(LATENT_DIM),
    )
    # Each head says what it needs of its network in in_shape; here (64,) and (2 * LATENT_DIM,).
    decoder, encoder = gated(LATENT_DIM, *head.in_shape), gated(64, *q_head.in_shape)
    vae = VAE(prior.StandardNormal(LATENT_DIM), decoder, head, encoder, q_head)
    history = fit(cls(vae, samples=4), train, validation=valid, max_steps=400, seed=0)
    found = evaluate.log_likelihood(vae, test, samples=200)
    bound = evaluate.elbo(vae, test).mean().item()
    results.append((bound, found.mean))
    beta = head.variance.sqrt().item()
    print(
        (
            f"{cls.__name__:20} ELBO {bound:.2f} <= log p(x) {found.mean:.2f} ± "
            f"{found.mean_standard_error:.2f}"
        ),
        end="; ",
    )
    print(
        f"beta {beta:.3f}, median ESS {found.ess.median():.0f} of 200, best at step "
        f"{history.best_step}"
    )

if any(bound > log_p or log_p < linear for bound, log_p in results):
    raise SystemExit(
        "A bound lies above what it bounds, or a nonlinear model is worse than the linear one."
    )
