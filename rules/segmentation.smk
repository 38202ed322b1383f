# Where the organs are: the network reads all scans of a visit in one job; lungs pass one gate,
# whoever found them. Label maps of other software take the network's place where scans.tsv names
# them.
if NETWORK:
    CHESTS = [series for series in IMAGING["series"] if series not in HEART_SERIES]
    FOUND = "<results>/visit/{subject}/{visit}/network"

    rule segment_visit:
        """Find lobes, airways, vessels and heart in the scans of one visit with the network."""
        input:
            images=visit_scans("scan.nii.gz"),
            records=visit_scans("scan.json"),
        output:
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
            precision=IMAGING.get("network", {}).get("precision", "float32"),
            weights=IMAGING.get("network", {}).get("weights"),
            digest=weights_digest(),
            code=code("segment_visit"),
        script:
            "../scripts/segment_visit.py"


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
        by_network=by_network,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("segment_lungs"),
    script:
        "../scripts/segment_lungs.py"
