"""A hand-written PyTorch loop: ``loader`` "dataloader", as in the examples of PyTorch, or
"resident", the best one.

"dataloader": DataLoader of a TensorDataset, Adam at 1e-3, the loss summed on the host at every
step. "resident": batches gathered from one tensor, fused AdamW, no host sync; with ``bf16``,
autocast.
"""

from __future__ import annotations

import contextlib
import itertools

import torch
from torch.utils.data import DataLoader, TensorDataset

from ._contest import Done, Watch, read, write
from ._plain import PlainVAE


def main() -> None:
    job, train, test = read()
    torch.manual_seed(job["seed"])
    watch = Watch(job, train, test)
    x = torch.from_numpy(train.reshape(len(train), -1))
    model = PlainVAE(x.shape[1], job["hidden"], job["latent"], float(x.std()))
    with contextlib.suppress(Done):
        (resident if job["loader"] == "resident" else dataloader)(job, x, model, watch)
    write(**watch.result(), version=torch.__version__)


def dataloader(job: dict, x: torch.Tensor, model: PlainVAE, watch: Watch) -> None:
    loader = DataLoader(TensorDataset(x), batch_size=job["batch"], shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in itertools.count():
        total = 0.0
        for (batch,) in loader:
            optimiser.zero_grad()
            loss = model.loss(batch)
            loss.backward()
            total += loss.item()
            optimiser.step()
            watch.step(model)


def resident(job: dict, x: torch.Tensor, model: PlainVAE, watch: Watch) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    for _ in itertools.count():
        for rows in torch.randperm(len(x)).split(job["batch"]):
            with torch.autocast("cpu", torch.bfloat16, enabled=job.get("bf16", False)):
                loss = model.loss(x[rows])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            watch.step(model)


if __name__ == "__main__":
    main()
