# Training of the network: patients of the phantom, steps, curves, weights and their card. It is a
# workflow of its own, which no trial asks for:
#
#     snakemake --snakefile rules/train.smk --cores 2
#     snakemake --snakefile rules/train.smk --cores 2 --config settings=published
#
# The weights appear in results/networks; `imaging: network: weights` of a trial's config.yaml
# names them, or they take the place of those in scripts/lungitude/networks/weights.
import os
import sys

ROOT = os.path.dirname(workflow.basedir)
sys.path.insert(0, f"{ROOT}/scripts")

from lungitude import provenance

NAME = config.get("settings", "hierarchical")
SETTINGS = f"{ROOT}/config/networks/{NAME}.yaml"
PATIENTS = int(config.get("patients", 200))
A_BLOCK = 20
OUT = f"results/networks/{NAME}"
BLOCKS = [f"{first:04d}" for first in range(0, PATIENTS, A_BLOCK)]


rule all:
    input:
        f"{OUT}/weights.safetensors",
        f"{OUT}/curves.png",
        f"{OUT}/card.md",


rule make_anatomies:
    """Draw a block of patients of the phantom as label maps to train on."""
    output:
        directory("results/networks/anatomies/{block}"),
    log:
        "results/networks/logs/make_anatomies_{block}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        patients=lambda wildcards: range(
            int(wildcards.block), min(int(wildcards.block) + A_BLOCK, PATIENTS)
        ),
        seed=int(config.get("seed", 20261121)),
        code=provenance.digest("make_anatomies"),
    script:
        "../scripts/make_anatomies.py"


rule train_network:
    """Train on random scans of the anatomies; a run that was cut off goes on at its checkpoint."""
    input:
        anatomies=expand("results/networks/anatomies/{block}", block=BLOCKS),
        settings=SETTINGS,
    output:
        weights=f"{OUT}/weights.safetensors",
        log=f"{OUT}/training.jsonl",
    log:
        f"{OUT}/train_network.log",
    conda:
        "../envs/imaging.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=600,
    params:
        folder="results/networks/anatomies",
        checkpoint=f"{OUT}/checkpoint",
        code=provenance.digest("train_network"),
    script:
        "../scripts/train_network.py"


rule describe_training:
    """Draw the curves of a training and write the card of its weights."""
    input:
        weights=f"{OUT}/weights.safetensors",
        log=f"{OUT}/training.jsonl",
    output:
        curves=f"{OUT}/curves.png",
        card=f"{OUT}/card.md",
    log:
        f"{OUT}/describe_training.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        name=NAME,
        code=provenance.digest("describe_training"),
    script:
        "../scripts/describe_training.py"
