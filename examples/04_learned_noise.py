"""beta^2 fixed at 1 against beta^2 learned:
what it does to log p(x), to the latent code and to the samples.
"""

from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

from nelbo import VariationalAutoencoder

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# pixels in [0, 1]: noise of beta = 1 is as large as the whole range
images = load_digits().images / 16.0
train, test = images[:1400], images[1400:]

rows = {}
head = f"{'beta^2':10}{'beta':>8}{'log p(x)':>12}{'ELBO':>10}"
print(f"{head}{'varying latents':>18}{'noise in samples':>18}")
for variance in (1.0, "learned"):
    model = VariationalAutoencoder(
        8, variance=variance, hidden=(128,), max_steps=800, random_state=0
    ).fit(train)
    x_hat = model.sample(500, noise=False, random_state=1)  # x_hat = f(z)
    # x_tilde ~ N(x_hat, beta^2 I), from the same z
    x_tilde = model.sample(500, noise=True, random_state=1)
    beta, noise = model.noise_variance_**0.5, float((x_tilde - x_hat).std())
    varying = int((model.transform(test).var(0) > 0.01).sum())
    rows[variance] = model, x_hat, x_tilde, beta, noise
    print(
        f"{variance!s:10}{beta:8.4f}{model.score(test):12.1f}{model.elbo(test).mean():10.1f}"
        f"{varying:18}{noise:18.4f}"
    )

strips = [("data", test)]
for variance, (_, x_hat, x_tilde, _, _) in rows.items():
    strips += [(f"x_hat, beta² {variance}", x_hat), (f"x_tilde, beta² {variance}", x_tilde)]
fig, axes = plt.subplots(len(strips), 1, figsize=(6, 5))
for axis, (title, pictures) in zip(axes, strips, strict=True):
    axis.imshow(np.hstack(list(pictures[:12])), cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(title, fontsize=8, loc="left")
    axis.axis("off")
path = Path("runs") / "learned_noise.png"
path.parent.mkdir(exist_ok=True)
fig.savefig(path, dpi=100)
print(f"Picture: {path}")

fixed, learned = rows[1.0], rows["learned"]
if any(abs(noise / beta - 1) > 0.02 for *_, beta, noise in rows.values()):
    raise SystemExit("The noise in the samples is not of size beta.")
if abs(fixed[3] - 1) > 1e-6 or learned[0].score(test) < fixed[0].score(test) + 50:
    raise SystemExit("A fixed beta^2 has moved, or learning it did not pay.")
