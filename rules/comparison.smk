# Networks that are compared: trained together on one stream of samples, read on the same unseen
# patients. A part of rules/train.smk:
#
#     snakemake --snakefile rules/train.smk --cores 2 compare_networks
#
# What is compared stands in config/networks/comparison.yaml. A training that was stopped goes on at
# its checkpoint, and patients that were read are kept.
COMPARISON = f"{ROOT}/config/networks/comparison.yaml"
COMPARED = "results/networks/comparison"
with open(COMPARISON, encoding="utf-8") as file:
    COMPARED_CASES = [
        f"{COMPARED}/cases/{domain}_{number}.parquet"
        for domain, patients in (yaml.safe_load(file).get("cases") or {}).items()
        for number in range(patients)
    ]


# The cases stand here, too: a document that came with the project does not hide missing ones.
rule compare_networks:
    input:
        COMPARED_CASES,
        "docs/validation/network_comparison.md",


rule train_comparison:
    """Train all networks at once; a run that was cut off goes on at its checkpoint."""
    input:
        anatomies=expand("results/networks/anatomies/{block}", block=BLOCKS),
        plan=COMPARISON,
    output:
        weights=directory(f"{COMPARED}/weights"),
        log=f"{COMPARED}/log.jsonl",
    log:
        f"{COMPARED}/train_comparison.log",
    conda:
        "../envs/imaging.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=1440,
    params:
        folder="results/networks/anatomies",
        checkpoint=f"{COMPARED}/checkpoint",
        code=provenance.digest("train_comparison"),
    script:
        "../scripts/train_comparison.py"


rule compare_cases:
    """Let all networks read the scans of one unseen patient, and hold them against truth."""
    input:
        weights=f"{COMPARED}/weights",
        plan=COMPARISON,
        model=f"{ROOT}/config/demo/model.yaml",
    output:
        case=f"{COMPARED}/cases/{{domain}}_{{number}}.parquet",
    log:
        f"{COMPARED}/logs/{{domain}}_{{number}}.log",
    wildcard_constraints:
        domain=r"[a-z]+",
        number=r"\d+",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        code=provenance.digest("compare_cases"),
    script:
        "../scripts/compare_cases.py"


rule gather_comparison:
    """Summarise all networks over all patients; write the document and its figures."""
    input:
        weights=f"{COMPARED}/weights",
        plan=COMPARISON,
        cases=COMPARED_CASES,
    output:
        table="docs/validation/network_comparison.tsv",
        document="docs/validation/network_comparison.md",
        overlap_svg="docs/validation/network_comparison_overlap.svg",
        overlap_png="docs/validation/network_comparison_overlap.png",
        overlap_pdf=f"{COMPARED}/overlap.pdf",
        heatmap_svg="docs/validation/network_comparison_heatmap.svg",
        heatmap_png="docs/validation/network_comparison_heatmap.png",
        heatmap_pdf=f"{COMPARED}/heatmap.pdf",
    log:
        f"{COMPARED}/gather_comparison.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=provenance.digest("gather_comparison"),
    script:
        "../scripts/gather_comparison.py"
