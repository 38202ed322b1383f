# Training of the network: patients of the phantom, steps, curves, weights and their card. It is a
# workflow of its own, which no trial asks for:
#
#     snakemake --snakefile rules/train.smk --cores 2
#     snakemake --snakefile rules/train.smk --cores 2 --config settings=published
#     snakemake --snakefile rules/train.smk --cores 2 --config settings=published fold=2
#     snakemake --snakefile rules/train.smk --cores 2 compare_networks
#
# The weights appear in results/networks; `imaging: network: weights` of a trial's config.yaml
# names them, or they take the place of those in scripts/lungitude/networks/weights. Settings that
# part patients into folds train each of them by `fold=1` and so on, or all by `fold=all`.
import os
import sys

import yaml

ROOT = os.path.dirname(workflow.basedir)
sys.path.insert(0, f"{ROOT}/scripts")

from lungitude import provenance

NAME = config.get("settings", "hierarchical")
SETTINGS = f"{ROOT}/config/networks/{NAME}.yaml"
PATIENTS = int(config.get("patients", 200))
A_BLOCK = 20
FOLD = str(config.get("fold", 0))
with open(SETTINGS, encoding="utf-8") as file:
    FOLDS = ((yaml.safe_load(file) or {}).get("parting") or {}).get("folds", 0)
if FOLD not in ("0", *map(str, range(1, FOLDS + 1)), *(["all"] if FOLDS else [])):
    raise ValueError(
        f"fold={FOLD}: "
        + (
            f"give 1 to {FOLDS}, or all"
            if FOLDS
            else f"the settings '{NAME}' have no folds"
        )
    )
# Folders of the trainings; one without folds has its own settings' name.
CROSSED = [f"{NAME}/fold{k}" for k in range(1, FOLDS + 1)]
RUNS = CROSSED if FOLD == "all" else [f"{NAME}/fold{FOLD}" if FOLD != "0" else NAME]
OUT = "results/networks/{run}"
BLOCKS = [f"{first:04d}" for first in range(0, PATIENTS, A_BLOCK)]


rule all:
    input:
        expand(
            OUT + "/{name}",
            run=RUNS,
            name=["weights.safetensors", "curves.png", "card.md"],
        ),
        f"results/networks/{NAME}/folds.md" if FOLD == "all" else [],


wildcard_constraints:
    run="|".join([NAME, *CROSSED]),


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
        weights=OUT + "/weights.safetensors",
        log=OUT + "/training.jsonl",
    log:
        OUT + "/train_network.log",
    conda:
        "../envs/imaging.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=600,
    params:
        folder="results/networks/anatomies",
        checkpoint=lambda wildcards: f"results/networks/{wildcards.run}/checkpoint",
        fold=lambda wildcards: int(wildcards.run.partition("/fold")[2] or 0),
        code=provenance.digest("train_network"),
    script:
        "../scripts/train_network.py"


rule describe_training:
    """Draw the curves of a training and write the card of its weights."""
    input:
        weights=OUT + "/weights.safetensors",
        log=OUT + "/training.jsonl",
    output:
        curves=OUT + "/curves.png",
        card=OUT + "/card.md",
    log:
        OUT + "/describe_training.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        name=lambda wildcards: wildcards.run,
        code=provenance.digest("describe_training"),
    script:
        "../scripts/describe_training.py"


rule compare_folds:
    """Put the held-out Dice of all folds into one table, with mean and SD."""
    input:
        weights=expand(OUT + "/weights.safetensors", run=CROSSED),
    output:
        table=f"results/networks/{NAME}/folds.md",
    log:
        f"results/networks/{NAME}/compare_folds.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=provenance.digest("compare_folds"),
    script:
        "../scripts/compare_folds.py"


include: "comparison.smk"
