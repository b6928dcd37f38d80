"""Which model scores incomplete rows: one that was fitted to complete rows is asked about what is
there, too.
"""

from __future__ import annotations

__all__ = ["View", "of_incomplete", "without_mechanism"]

import copy
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import Schema
from ..likelihood.mixed import Mixed
from ..networks import Filled
from ..vae import VAE


@dataclass(frozen=True, eq=False)
class View:
    """Some rows, and the model that scores them.

    Attributes:
        rows: Which of all rows they are, a mask (n,).
        vae: The model.
        schema: What lies between its units and those of the data.
        x: The rows in its units.
        c: What they are conditioned on, or None.
    """

    rows: Tensor
    vae: VAE
    schema: Schema
    x: Tensor
    c: Tensor | None = None


def of_incomplete(vae: VAE, schema: Schema) -> tuple[VAE, Schema]:
    """Return the model with the same p(x) that takes rows with missing values, and its schema.

    A model of whitened columns is turned into one of standardised columns, whose noise is
    correlated. The encoder of complete rows reads what is missing as the mean, so that q(z|x) is a
    poor proposal; normals fitted to p(z|x) are not.

    Arguments:
        vae: The model, in eval mode.
        schema: The schema of its data.
    """
    if vae.takes_missing:
        return vae, schema
    if schema.mixing is None:
        encoder = Filled(vae.encoder)
        found = VAE(vae.prior, vae.decoder, vae.likelihood, encoder, vae.posterior)
        return found.train(vae.training), schema
    mixing = torch.tensor(schema.mixing)
    vae = copy.deepcopy(vae).double()
    mixing = mixing.to(vae.device)
    encoder = Filled(vae.encoder, torch.linalg.inv(mixing))
    found = VAE(vae.prior, vae.decoder, Mixed(vae.likelihood, mixing), encoder, vae.posterior)
    return found.train(vae.training), dataclasses.replace(schema, mixing=None)


def without_mechanism(vae: VAE) -> VAE:
    """Return the model of the values alone, for one that also says which are missing."""
    if not vae.likelihood.models_missing:
        return vae
    found = VAE(vae.prior, vae.decoder, vae.likelihood.of_values(), vae.encoder, vae.posterior)
    return found.train(vae.training)
