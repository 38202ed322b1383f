"""Train the network on random scans of the anatomies."""

import logging
import shutil
from pathlib import Path

from lungitude.job import job_log, whole
from lungitude.networks import anatomies, parting, settings, training, weights

log = logging.getLogger(__name__)


def main(job):
    """Write the weights and the log of the training; the checkpoint stays beside them."""
    found = settings.load(job.input.settings)
    network, options = settings.arguments(found)
    folder, checkpoint = Path(job.params.folder), Path(job.params.checkpoint)
    patients = parting.patients(folder, found["parting"], job.params.fold)
    net, _ = training.train(folder, checkpoint, network, options, patients=patients)
    familiar = training.familiarity(net, folder, options, patients=patients)
    names = [anatomies.names(folder, kind) for kind in ("whole", "detail")]
    facts = training.facts(options, checkpoint / "log.jsonl", *map(len, names))
    facts["reading"] = found["reading"]
    if patients:
        told = {key: found["parting"][key] for key in ("by", "folds", "seed")}
        facts["parting"] = {**told, "fold": job.params.fold, "patients": patients}
        if patients["test"]:
            test = training.anatomies_of(folder, patients["test"])
            facts["test_dice"] = training.check(net, folder, test, options)
    weights.save(job.output.weights, net, facts, familiar)
    with whole(job.output.log) as part:
        shutil.copyfile(checkpoint / "log.jsonl", part)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
