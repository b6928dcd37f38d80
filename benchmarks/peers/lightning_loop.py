"""The same plain VAE under Lightning's Trainer, as scvi-tools trains: DataLoader, Adam; loggers,
bars and files off.
"""

from __future__ import annotations

import contextlib
import logging

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from ._contest import Done, Watch, read, write
from ._plain import PlainVAE


class Module(lightning.LightningModule):
    def __init__(self, model: PlainVAE, watch: Watch) -> None:
        super().__init__()
        self.model, self.watch = model, watch

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return self.model.loss(batch[0])

    def on_train_batch_end(self, *_: object) -> None:
        self.watch.step(self.model)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    job, train, test = read()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(job["seed"], verbose=False)
    watch = Watch(job, train, test)
    x = torch.from_numpy(train.reshape(len(train), -1))
    module = Module(PlainVAE(x.shape[1], job["hidden"], job["latent"], float(x.std())), watch)
    trainer = lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        precision="bf16-mixed" if job.get("bf16") else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with contextlib.suppress(Done):
        trainer.fit(module, DataLoader(TensorDataset(x), batch_size=job["batch"], shuffle=True))
    write(**watch.result(), version=lightning.__version__)


if __name__ == "__main__":
    main()
