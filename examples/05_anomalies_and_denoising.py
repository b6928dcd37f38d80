"""Two uses of a density:
rows it finds improbable are anomalies, and a noisy row is cleaned by its posterior mean.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from nelbo import VariationalAutoencoder

LATENT_DIM, ODD = 8, 4
rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X, y = X[order := rng.permutation(len(X))], y[order]
# grey values are whole numbers, whose density would have no bound
X = X + rng.uniform(-0.5, 0.5, X.shape)

# Anomalies: one digit is never seen in training; score_samples is log p(x), so anomalies have low
# scores.
normal = X[y != ODD]
train, held = normal[:1200], normal[1200:]
mixed, odd = np.vstack([held, X[y == ODD]]), np.repeat([0, 1], [len(held), (y == ODD).sum()])
options = {
    "hidden": (128,),
    "scale": "global",
    "max_steps": 300,
    "score_samples_k": 50,
    "random_state": 0,
}
vae, pca = VariationalAutoencoder(LATENT_DIM, **options).fit(train), PCA(LATENT_DIM).fit(train)
scores = {"VAE": vae.score_samples(mixed), "PCA": pca.score_samples(mixed)}
auroc = {name: roc_auc_score(odd, -found) for name, found in scores.items()}
print(
    f"AUROC for the unseen digit {ODD}: VAE {auroc['VAE']:.3f}, PCA of the same size "
    f"{auroc['PCA']:.3f}"
)
typical, strangest = np.median(scores["VAE"][odd == 0]), scores["VAE"].min()
print(f"log p(x): typical {typical:.0f} nats, the strangest row {strangest:.0f} nats")

# Denoising: fit on noisy rows alone. The learned beta then takes up the noise, and reconstruct()
# leaves it out.
noise = 3.0
noisy, clean = train + rng.normal(0, noise, train.shape), train
vae, pca = VariationalAutoencoder(LATENT_DIM, **options).fit(noisy), PCA(LATENT_DIM).fit(noisy)


def rmse(estimate: np.ndarray) -> float:
    return float(np.sqrt(np.mean((estimate - clean) ** 2)))


error = {
    "VAE": rmse(vae.reconstruct(noisy)),
    "PCA": rmse(pca.inverse_transform(pca.transform(noisy))),
}
print(
    f"Noise of sd {noise} added; learned beta {vae.noise_variance_**0.5:.2f} (noise and what 8 "
    "latents leave out)"
)
print(
    f"RMSE to the clean rows: noisy {rmse(noisy):.2f}, PCA {error['PCA']:.2f}, VAE "
    f"{error['VAE']:.2f}"
)

if auroc["VAE"] < auroc["PCA"] or error["VAE"] > error["PCA"] or vae.noise_variance_ < noise**2:
    raise SystemExit("The VAE found fewer anomalies, cleaned worse, or explained away the noise.")
