"""A linear VAE is probabilistic PCA:
from a random start, training by the ELBO finds what an eigendecomposition finds.

With f(z) = W z + b and one learned beta^2, p(x) = N(b, W W^T + beta^2 I) exactly (Tipping & Bishop,
1999), and at the optimum the diagonal q(z|x) is the true posterior, so that ELBO = log p(x) (Lucas
et al., 2019).
"""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from nelbo import VariationalAutoencoder

LATENT_DIM = 8
train, test = train_test_split(load_digits().images, test_size=0.25, random_state=0)  # (n, 8, 8)
flat = {"train": train.reshape(-1, 64), "test": test.reshape(-1, 64)}

pca = PCA(LATENT_DIM).fit(flat["train"])
model = VariationalAutoencoder(
    LATENT_DIM,
    network="linear",
    init="random",  # "auto" would start at the answer
    scale="global",  # one number for all pixels, so that beta^2 I is isotropic in the data's units
    validation_fraction=0,  # train on every row, as PCA does
    max_steps=3000,
    batch_size=256,
    learning_rate=0.01,
    random_state=0,
).fit(train)

theirs, ours, bound = pca.score(flat["test"]), model.score(test), model.elbo(test).mean()
sigma, beta = pca.noise_variance_**0.5, model.noise_variance_**0.5
print(f"{'':24}{'held-out log p(x)':>20}{'sigma':>10}")
print(f"{'exact pPCA':24}{theirs:>15.3f} nats{sigma:>10.4f}")
print(f"{'linear VAE':24}{ours:>15.3f} nats{beta:>10.4f}")
print(f"{'linear VAE, its ELBO':24}{bound:>15.3f} nats")

if abs(ours - theirs) > 0.1 or abs(beta / sigma - 1) > 1e-3 or not ours - 0.3 < bound <= ours:
    raise SystemExit("The linear VAE differs from pPCA.")
print("They agree: within 0.1 nats and 0.1 % of sigma; the ELBO lies just below log p(x).")
