"""pythae as its users run it:
the default MLP VAE (one layer of 512, sigmoid, mse), TrainingPipeline, BaseTrainer.

Learning rate 1e-3 and the job's batch size; everything else is pythae's default.
"""

from __future__ import annotations

import contextlib
import importlib.metadata

import torch
from pythae.models import VAE, VAEConfig
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

from . import _plain  # noqa: F401 (imports what the first use of torch.optim would)
from ._contest import FOLDER, Done, Watch, read, write


class Told(TrainingCallback):
    def __init__(self, model: VAE, watch: Watch) -> None:
        self.model, self.watch = model, watch

    def on_train_step_end(self, training_config: BaseTrainerConfig, **_: object) -> None:
        self.watch.step(self)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model.encoder(x)
        return output.embedding, (0.5 * output.log_covariance).exp()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.model.decoder(z)["reconstruction"].flatten(1)


def main() -> None:
    job, train, test = read()
    train = train.reshape(len(train), -1)
    torch.manual_seed(job["seed"])
    watch = Watch(job, train, test)
    model = VAE(VAEConfig(input_dim=(train.shape[1],), latent_dim=job["latent"]))
    config = BaseTrainerConfig(
        output_dir=str(FOLDER),
        num_epochs=10**6,
        learning_rate=1e-3,
        per_device_train_batch_size=job["batch"],
        seed=job["seed"],
    )
    with contextlib.suppress(Done):
        TrainingPipeline(model=model, training_config=config)(train, callbacks=[Told(model, watch)])
    write(**watch.result(), version=importlib.metadata.version("pythae"))


if __name__ == "__main__":
    main()
