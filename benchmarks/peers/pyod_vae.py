"""PyOD's VAE with the job's net instead of its own (dropout off, data as they are);
only its speed is measured.
"""

from __future__ import annotations

import contextlib
import importlib.metadata

from pyod.models.vae import VAE
from torch import Tensor

from . import _plain  # noqa: F401 (imports what the first use of torch.optim would)
from ._contest import Done, Watch, read, write


class Told(VAE):
    def training_forward(self, batch_data: Tensor) -> float:
        loss = super().training_forward(batch_data)
        self.watch.step(self.model)
        return loss


def main() -> None:
    job, train, test = read()
    watch = Watch(job, train, test)
    detector = Told(
        latent_dim=job["latent"],
        encoder_neuron_list=list(job["hidden"]),
        decoder_neuron_list=list(reversed(job["hidden"])),
        dropout_rate=0.0,
        preprocessing=False,
        batch_size=job["batch"],
        epoch_num=10**6,
        random_state=job["seed"],
    )
    detector.watch = watch
    with contextlib.suppress(Done):
        detector.fit(train.reshape(len(train), -1))
    write(**watch.result(), version=importlib.metadata.version("pyod"))


if __name__ == "__main__":
    main()
