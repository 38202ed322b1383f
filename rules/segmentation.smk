# Where the organs are: the network reads all scans of a visit in one job; lungs pass one gate,
# whoever found them. Label maps of other software take the network's place where scans.tsv names
# them; airways and vessels can also be found without a network.
if NETWORK:
    CHESTS = [series for series in IMAGING["series"] if series not in HEART_SERIES]
    FOUND = "<results>/visit/{subject}/{visit}/network"
    READING = IMAGING.get("network", {})
    CHEST_SHARES = {
        f"{name}_probability": expand(
            f"{FOUND}/{{series}}_{name}_probability.nii.gz",
            series=CHESTS,
            allow_missing=True,
        )
        for name in ("lungs", "low_attenuation")
    }
    SHARES = {
        f"{name}_probability": f"{FOUND}/{name}_probability.nii.gz"
        for name in ("airways", "vessels", "coronary", "heart")
    }

    rule segment_visit:
        """Find lobes, airways, vessels and heart in the scans of one visit with the network."""
        input:
            images=visit_scans("scan.nii.gz"),
            records=visit_scans("scan.json"),
        output:
            **({**CHEST_SHARES, **SHARES} if READING.get("probabilities") else {}),
            lobes=expand(
                f"{FOUND}/{{series}}_lobes.nii.gz", series=CHESTS, allow_missing=True
            ),
            airways=f"{FOUND}/airways.nii.gz",
            vessels=f"{FOUND}/vessels.nii.gz",
            coronary=f"{FOUND}/coronary.nii.gz",
            heart=f"{FOUND}/heart.nii.gz",
            table=f"{FOUND}/trust.tsv",
        log:
            "<results>/logs/segment_visit/{subject}_{visit}.log",
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=6000,
            runtime=30,
        params:
            identity=lambda wildcards: {
                key: value
                for key, value in identity(wildcards).items()
                if key != "SERIES"
            },
            series=lambda wildcards: SERIES_OF[wildcards.subject, wildcards.visit],
            chests=CHESTS,
            roles=ROLES_OF_SERIES,
            sought=sought,
            precision=READING.get("precision", "float32"),
            weights=READING.get("weights"),
            probabilities=READING.get("probabilities", False),
            vessel_tracking=READING.get("vessel_tracking", False),
            digest=weights_digest(),
            code=code("segment_visit"),
        script:
            "../scripts/segment_visit.py"

    if IMAGING.get("cross_check"):

        rule check_network:
            """Find lungs, airways and vessels of an inspiration without the network, and compare."""
            input:
                image=visit_file("inspiration", "scan.nii.gz"),
                record=visit_file("inspiration", "scan.json"),
                lobes=f"{FOUND}/{IMAGING['inspiration']}_lobes.nii.gz",
                airways=f"{FOUND}/airways.nii.gz",
                vessels=f"{FOUND}/vessels.nii.gz",
            output:
                table=f"{FOUND}/cross_check.tsv",
            log:
                "<results>/logs/check_network/{subject}_{visit}.log",
            conda:
                "../envs/imaging.yaml"
            resources:
                mem_mb=4000,
                runtime=20,
            params:
                identity=identity_of("inspiration"),
                code=code("check_network"),
            script:
                "../scripts/check_network.py"


if GROWN:

    rule segment_trees:
        """Find airways and vessels of an inspiration by region growing and tubes."""
        input:
            image=visit_file("inspiration", "scan.nii.gz"),
            record=visit_file("inspiration", "scan.json"),
            lungs=visit_file("inspiration", "lungs.nii.gz"),
            lungs_record=visit_file("inspiration", "lungs.json"),
        output:
            labels=expand(
                "<results>/visit/{{subject}}/{{visit}}/classical/{part}.nii.gz",
                part=[column.lower() for column in GROWN],
            ),
            records=expand(
                "<results>/visit/{{subject}}/{{visit}}/classical/{part}.json",
                part=[column.lower() for column in GROWN],
            ),
        log:
            "<results>/logs/segment_trees/{subject}_{visit}.log",
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=4000,
            runtime=20,
        params:
            identity=identity_of("inspiration"),
            parts=[column.lower() for column in GROWN],
            code=code("segment_trees"),
        script:
            "../scripts/segment_trees.py"


rule segment_lungs:
    """Find the lungs of one scan, or take them from a label map of other software."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        labels=scan_labels,
    output:
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
    log:
        "<results>/logs/segment_lungs/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        identity=identity,
        method=IMAGING.get("segmentation"),
        label_map=lambda wildcards: lungs_told(wildcards, "label_map"),
        label_scheme=lambda wildcards: lungs_told(wildcards, "label_scheme"),
        resample_labels=IMAGING.get("resample_labels"),
        by_network=by_network,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("segment_lungs"),
    script:
        "../scripts/segment_lungs.py"
