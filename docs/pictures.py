"""Draw the pictures of docs/from_zero.md: `python docs/pictures.py` (matplotlib, no download).

The blocks of Python of that page are run, so that its pictures show what its code computes. Colours
are readable on light and on dark pages, and nothing has a background.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from nelbo import evaluate

HERE = Path(__file__).parent
GREY, TEAL, ORANGE, VIOLET = "#7b8490", "#1d9a8c", "#de7a35", "#8f73d9"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 11,
    "svg.fonttype": "none",  # text stays text: small files that can be searched
    "svg.hashsalt": "nelbo",  # the same bytes at every run
    "savefig.transparent": True,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlesize": 11,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def main() -> None:
    """Write all pictures into docs/images."""
    page = computed()
    with mpl.rc_context(STYLE):
        for draw in (density, decoder, posterior, bound, beta, kl, digits):
            figure = draw(page)
            figure.savefig(
                HERE / "images" / f"zero_{draw.__name__}.svg",
                metadata={"Date": None},
                bbox_inches="tight",
                pad_inches=0.05,
            )
            plt.close(figure)


def computed() -> dict[str, Any]:
    """Run the page's blocks, and return what they defined."""
    text = (HERE / "from_zero.md").read_text(encoding="utf-8")
    session: dict[str, Any] = {"__name__": "documentation"}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            exec(compile(block, "from_zero.md", "exec"), session)
    return session


def plane(axes: Axes, title: str) -> None:
    """Prepare axes for points in the plane."""
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.7, 1.7), aspect="equal", xticks=[], yticks=[], title=title)
    for side in axes.spines.values():
        side.set_visible(False)


def points(axes: Axes, x: torch.Tensor, color: str = GREY, **options: Any) -> None:
    """Draw some rows as dots."""
    axes.scatter(*x[:250].T, s=6, color=color, linewidths=0, **options)


def curve(page: dict[str, Any], axes: Axes) -> None:
    """Draw f(z) for z from -3 to 3."""
    with torch.no_grad():
        line = page["vae"].decode(torch.linspace(-3, 3, 200)[:, None]).mean
    axes.plot(*line.T, color=ORANGE, linewidth=2)


def grid() -> tuple[Any, torch.Tensor]:
    """Return the places of a picture, as axes and as rows."""
    across, up = np.meshgrid(np.linspace(-1.9, 1.9, 70), np.linspace(-1.7, 1.7, 64))
    rows = torch.tensor(np.stack([across.ravel(), up.ravel()], 1), dtype=torch.float32)
    return (across, up), rows


def contours(axes: Axes, vae: Any) -> None:
    """Draw lines of equal density of a model with one latent."""
    places, rows = grid()
    height = evaluate.log_likelihood(vae, rows, "quadrature").value
    level_lines(axes, places, height)


def level_lines(axes: Axes, places: Any, height: torch.Tensor) -> None:
    """Draw lines of equal log-density, a factor e apart from the highest."""
    values = height.reshape(places[0].shape).numpy()
    levels = values.max() - np.array([4.0, 3.0, 2.0, 1.0])
    axes.contour(*places, values, levels=levels, colors=TEAL, linestyles="solid", linewidths=1.2)


def density(page: dict[str, Any]) -> Any:
    """Data, and the densities of a line and of a curve."""
    figure, (data, line, bent) = plt.subplots(1, 3, figsize=(9, 2.9))
    plane(data, "data")
    points(data, page["x"])
    plane(line, "a line with noise")
    points(line, page["x"], alpha=0.4)
    places, rows = grid()
    level_lines(line, places, page["line"].log_prob(rows.double()))
    plane(bent, "a curve with noise: the VAE")
    points(bent, page["x"], alpha=0.4)
    contours(bent, page["vae"])
    return figure


def decoder(page: dict[str, Any]) -> Any:
    """From z to x_hat to x_tilde."""
    figure, (latent, means, drawn) = plt.subplots(1, 3, figsize=(9, 2.9))
    g = torch.Generator().manual_seed(3)
    z = torch.randn(150, 1, generator=g)
    with torch.no_grad():
        p = page["vae"].decode(z)
    colours = {"c": z[:, 0], "cmap": "cool", "vmin": -2.5, "vmax": 2.5, "s": 9, "linewidths": 0}
    across = np.linspace(-3.2, 3.2, 100)
    height = np.exp(-(across**2) / 2) / math.sqrt(2 * math.pi)
    latent.plot(across, height, color=GREY)
    latent.scatter(z[:, 0], np.zeros(len(z)), **colours)
    latent.set(title="z ~ N(0, 1)", yticks=[], xlabel="z", ylim=(-0.05, 0.5))
    latent.spines["left"].set_visible(False)
    plane(means, "x̂ = f(z)")
    curve(page, means)
    means.scatter(*p.mean.T, **colours, zorder=3)
    plane(drawn, "x̃ = x̂ + noise")
    curve(page, drawn)
    drawn.scatter(*p.sample(generator=g).T, **colours, zorder=3)
    return figure


def posterior(page: dict[str, Any]) -> Any:
    """p(z|x) and q(z|x) of an easy and of a hard point."""
    vae, x = page["vae"], page["x_new"]
    z = torch.linspace(-3.5, 3.5, 1401)[:, None, None]
    side = z < -1  # near an end of the curve
    with torch.no_grad():
        joint = (vae.decode(z).log_prob(x) + vae.prior().log_prob(z)).double()
        exact = (joint - joint.logsumexp(0) - math.log(7 / 1400)).exp()
        guess = vae.encode(x).log_prob(z).exp()
    left, right = (exact * side[:, :, 0]).sum(0), (exact * side.flip(0)[:, :, 0]).sum(0)
    hard = int(torch.minimum(left, right).argmax())  # as much on one side as on the other
    chosen = (int((page["gap"] - page["gap"].median()).abs().argmin()), hard)
    figure, (place, *others) = plt.subplots(1, 3, figsize=(9, 2.7))
    plane(place, "two points")
    points(place, page["x"], alpha=0.4)
    curve(page, place)
    for index, axes, name in zip(chosen, others, "ab", strict=True):
        place.annotate(
            name, x[index].tolist(), color=VIOLET, fontsize=14, weight="bold", ha="center",
            va="center",
        )  # fmt: skip
        axes.plot(z[:, 0, 0], exact[:, index], color=TEAL, label="p(z | x), exact")
        axes.plot(z[:, 0, 0], guess[:, index], color=VIOLET, label="q(z | x), the encoder's")
        axes.fill_between(z[:, 0, 0], exact[:, index], color=TEAL, alpha=0.25, linewidth=0)
        missed = page["gap"][index].item()
        axes.set(xlabel="z", yticks=[], title=f"{name}: ELBO {missed:.2f} nats too low")
        axes.spines["left"].set_visible(False)
    others[0].legend(fontsize=8, loc="upper left", handlelength=1)
    return figure


def bound(page: dict[str, Any]) -> Any:
    """The estimate by K draws, with and without fitted normals."""
    counts = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    figure, axes = plt.subplots(figsize=(6, 2.8))
    for proposal, name, color in (
        ("encoder", "draws of q(z | x)", VIOLET),
        ("mixture", "with normals fitted to each row", TEAL),
    ):
        means = [
            evaluate.log_likelihood(
                page["vae"], page["x_new"], "importance", k, proposal=proposal
            ).mean
            for k in counts
        ]
        axes.plot(counts, means, "o-", color=color, label=name, markersize=4)
    axes.axhline(page["exact"].mean, color=ORANGE, linestyle="--", label="exact log p(x)")
    axes.set(xscale="log", xlabel="draws K", ylabel="nats per point", ylim=(None, -0.7))
    axes.legend(fontsize=9, loc="center right", bbox_to_anchor=(1, 0.25))
    return figure


def beta(page: dict[str, Any]) -> Any:
    """The density under three noises."""
    learned = page["noise"].variance.item() ** 0.5
    figure, panels = plt.subplots(1, 3, figsize=(9, 2.9))
    for axes, value, name in zip(
        panels, (0.05, learned, 0.5), ("too little", "learned", "too much"), strict=True
    ):
        plane(axes, f"β = {value:.2f}: {name}")
        points(axes, page["x"], alpha=0.4)
        contours(axes, page["at"](value))
    return figure


def kl(page: dict[str, Any]) -> Any:
    """The share of each latent in the KL."""
    figure, axes = plt.subplots(figsize=(6, 2.3))
    shares = np.sort(page["kl"])[::-1]
    axes.bar(np.arange(1, len(shares) + 1), shares, color=TEAL)
    axes.set(xlabel="latents, the most telling first", ylabel="nats per digit")
    return figure


def digits(page: dict[str, Any]) -> Any:
    """Data, reconstructions, means and draws of the digits."""
    data = page["images"][600:606]
    rows = {
        "data": data,
        "reconstructions": page["digits"].reconstruct(data),
        "draws without noise": page["means"],
        "draws with noise": page["drawn"],
    }
    figure, panels = plt.subplots(4, 6, figsize=(5.4, 3.6))
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=16)
            axes.set_axis_off()
        line[0].text(-1.5, 3.5, name, ha="right", va="center")
    return figure


if __name__ == "__main__":
    main()
