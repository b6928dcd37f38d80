"""The adult census table with defaults: how long a fit takes, and what each column gains.

90 % of the rows are for the fit, and 10 % are kept from it, for each seed. Beside log p(x) of these
stands that of independent columns, each with the likelihood of its kind at its frequencies and
means: the same model, in which z says nothing. Column by column it is log p(x_j) of independent
columns beside log p(x_j | x_-j), what is known of a value by the others of its row; the difference
is what the model has learned of the column.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas
import torch

from nelbo import Fitted, VariationalAutoencoder

from ._common import data_file, machine, report

SEEDS = (0, 1, 2, 3, 4)
HEAD = ("column", "kind", "alone", "given the others", "gained", "s.e.")


def independent(model: Fitted, known: np.ndarray, new: np.ndarray) -> np.ndarray:
    """log p(x_j) of each value of new rows, (n, D), with columns at their frequencies and means.

    The likelihood of the model is left at those.
    """
    likelihood = model.vae.likelihood
    with torch.no_grad():
        features = likelihood.at_marginals(model.rows(known).float())
        p = likelihood(features.expand(len(new), -1))
        p.missing = True
        x = model.rows(new).float()
        each = p.each_observed(x).double().numpy()
    log_scale = np.broadcast_to(np.log(model.schema.scale), model.schema.shape)
    return each - log_scale * ~x.isnan().numpy()


def main() -> None:
    """Fit, and write a line for each column."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--rows", type=int, default=1000, help="held-out rows of the columns")
    parser.add_argument("--run", help="a RUN of nelbo fit, whose held-out rows are looked at")
    options = parser.parse_args()
    before = machine()
    table = pandas.read_csv(data_file("tables/adult.csv"), skipinitialspace=options.run is None)
    gains, alone, whole, facts = [], [], [], []
    for seed in [0] if options.run else options.seeds:
        begun, spent = time.perf_counter(), time.process_time()
        if options.run:
            model = Fitted.load(Path(options.run))
            mask = model.trained_on(table)
            known, new = table[mask], table[~mask]
        else:
            mixed = table.sample(frac=1, random_state=seed)
            new, known = mixed[: len(mixed) // 10], mixed[len(mixed) // 10 :]
            model = VariationalAutoencoder(random_state=seed).fit(known).fitted_
        took = time.perf_counter() - begun, time.process_time() - spent
        log_p = model.score_samples(new).astype(float)
        some = new[: options.rows]
        given = model.given_others(some).nats
        names = model.schema.table.in_model
        each = independent(model, model.values(known).array, model.values(new).array)
        whole.append(log_p.mean())
        alone.append(each.sum(1).mean())
        gains.append((each[: len(some)].mean(0), given.mean(0), given - each[: len(some)]))
        facts.append({"seed": seed, "seconds": took[0], "processor_seconds": took[1],
                      "log_p": float(log_p.mean()), "independent": float(alone[-1]),
                      "standard_error": log_p.std() / len(log_p) ** 0.5})  # fmt: skip
        print(facts[-1], flush=True)
    lines = []
    for j, column in enumerate(names):
        own, other = (float(np.mean([part[k][j] for part in gains])) for k in (0, 1))
        every = np.concatenate([part[2][:, j] for part in gains])
        error = float(every.std() / len(every) ** 0.5)
        lines.append((column.name, column.kind, own, other, other - own, error))
    lines.append(("log p(x)", "", float(np.mean(alone)), float(np.mean(whole)),
                  float(np.mean(whole) - np.mean(alone)), float(np.std(whole))))  # fmt: skip
    quick = options.run is not None or tuple(options.seeds) != SEEDS
    report("columns", HEAD, lines, before, quick, facts=facts)


if __name__ == "__main__":
    main()
