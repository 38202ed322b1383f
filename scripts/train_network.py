"""Train the network on random scans of the anatomies."""

import logging
import shutil
from pathlib import Path

from lungitude.job import job_log, whole
from lungitude.networks import anatomies, settings, training, weights

log = logging.getLogger(__name__)


def main(job):
    """Write the weights and the log of the training; the checkpoint stays beside them."""
    network, options = settings.arguments(settings.load(job.input.settings))
    folder, checkpoint = Path(job.params.folder), Path(job.params.checkpoint)
    net, _ = training.train(folder, checkpoint, network, options)
    familiar = training.familiarity(net, folder, options)
    names = [anatomies.names(folder, kind) for kind in ("whole", "detail")]
    facts = training.facts(options, checkpoint / "log.jsonl", *map(len, names))
    weights.save(job.output.weights, net, facts, familiar)
    with whole(job.output.log) as part:
        shutil.copyfile(checkpoint / "log.jsonl", part)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
