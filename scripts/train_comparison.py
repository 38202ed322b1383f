"""Train the networks that are compared, all on the same samples."""

import shutil
from pathlib import Path

from lungitude.job import job_log, whole
from lungitude.networks import comparison


def main(job):
    """Write the weights of each network and the log; the checkpoint stays beside them."""
    plan = comparison.load(job.input.plan)
    checkpoint, weights = Path(job.params.checkpoint), Path(job.output.weights)
    comparison.train(Path(job.params.folder), checkpoint, plan)
    weights.mkdir(parents=True, exist_ok=True)
    for model, facts in plan["models"].items():
        for part in facts["networks"]:
            name = f"{model}-{part}.safetensors"
            with whole(weights / name) as copy:
                shutil.copyfile(checkpoint / name, copy)
    with whole(job.output.log) as copy:
        shutil.copyfile(checkpoint / "log.jsonl", copy)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
