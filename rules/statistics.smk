# One job an analysis over all endpoints and strata; then one table of results.
rule analyse:
    """Run one analysis of the plan over all its endpoints, visits and strata."""
    input:
        unpack(analysis_input),
    output:
        results="<results>/analysis/{method}.parquet",
    log:
        "<results>/logs/analyse/{method}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        plan=lambda wildcards: PLAN["analyses"][wildcards.method],
        primary=PLAN.get("primary"),
        data_cut=SETTINGS.get("data_cut"),
        confidence=PLAN.get("confidence"),
        quantiles=PLAN.get("quantiles"),
        arms=SETTINGS["arms"],
        visits=SETTINGS["visits"],
        strata=SETTINGS["strata"],
        characteristics=SETTINGS["characteristics"],
        code=lambda wildcards: code(f"analyse_{wildcards.method}"),
    script:
        "../scripts/analyse_{wildcards.method}.py"


rule gather_results:
    """Put all results into one table, one row a statistic, and adjust p values by family."""
    input:
        expand("<results>/analysis/{method}.parquet", method=PLAN.get("analyses", [])),
    output:
        results="<results>/analysis/results.parquet",
        results_tsv="<results>/analysis/results.tsv",
        plan="<results>/analysis/plan.yaml",
    log:
        "<results>/logs/gather_results.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        plan=PLAN,
        code=code("gather_results"),
    script:
        "../scripts/gather_results.py"


rule list_individuals:
    """Put the values of single patients into one table, for figures that draw each of them."""
    input:
        unpack(individual_input),
    output:
        individual="<results>/analysis/individual.parquet",
    log:
        "<results>/logs/list_individuals.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        analyses=PLAN.get("analyses", {}),
        visits=SETTINGS["visits"],
        strata=SETTINGS["strata"],
        code=code("list_individuals"),
    script:
        "../scripts/list_individuals.py"
