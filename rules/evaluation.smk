# The segmentation network on phantoms that it never saw, by domain: patients of the demo trial's
# model with seeds of their own. The same whatever the trial, but for its network's weights.
# Finished blocks are kept, so that a run that was stopped goes on.
from lungitude.networks import unseen

EVALUATED = {**unseen.CASES, **IMAGING.get("network", {}).get("evaluation", {})}
EVALUATION_BLOCKS = [
    f"results/validation/networks/{domain}/{block}.parquet"
    for domain, patients in EVALUATED.items()
    for block in range(unseen.blocks(patients))
]


rule evaluate_network:
    input:
        EVALUATION_BLOCKS,
        "docs/validation/networks.md",
        "docs/validation/networks_explained.png",


rule evaluate_cases:
    """Read the scans of a block of unseen patients, and hold what is found against truth."""
    input:
        model="config/demo/model.yaml",
    output:
        block="results/validation/networks/{domain}/{block}.parquet",
    log:
        "results/validation/logs/networks/{domain}/{block}.log",
    wildcard_constraints:
        domain=r"[a-z]+",
        block=r"\d+",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=6000,
        runtime=60,
    params:
        patients=lambda wildcards: EVALUATED[wildcards.domain],
        weights=IMAGING.get("network", {}).get("weights"),
        precision=IMAGING.get("network", {}).get("precision", "float32"),
        digest=lambda wildcards: weights_digest(),
        code=code("evaluate_network"),
    script:
        "../scripts/evaluate_network.py"


rule gather_evaluation:
    """Summarise the patients of all domains; write the document and its figures."""
    input:
        EVALUATION_BLOCKS,
    output:
        patients="docs/validation/networks_patients.parquet",
        table="docs/validation/networks.tsv",
        document="docs/validation/networks.md",
        scatter_svg="docs/validation/networks_scatter.svg",
        scatter_png="docs/validation/networks_scatter.png",
        scatter_pdf="results/validation/networks/scatter.pdf",
        bland_altman_svg="docs/validation/networks_bland_altman.svg",
        bland_altman_png="docs/validation/networks_bland_altman.png",
        bland_altman_pdf="results/validation/networks/bland_altman.pdf",
    log:
        "results/validation/logs/gather_evaluation.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("gather_evaluation"),
    script:
        "../scripts/gather_evaluation.py"


rule explain_network:
    """Show where each output of the network looks in an unseen patient, and hold it against truth."""
    input:
        model="config/demo/model.yaml",
    output:
        picture="docs/validation/networks_explained.png",
        caption="docs/validation/networks_explained.txt",
        table="docs/validation/networks_explained.tsv",
    log:
        "results/validation/logs/explain_network.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        domain="internal",
        case=1,
        identity={"PATIENT": "unseen phantom"},
        seed=0,
        quantile=0.95,
        weights=IMAGING.get("network", {}).get("weights"),
        digest=lambda wildcards: weights_digest(),
        code=code("explain_network"),
    script:
        "../scripts/explain_network.py"
