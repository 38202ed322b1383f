# How far a biomarker spreads when the network reads the scans of a visit in other views.
if SPREAD:

    rule spread_network:
        """Read the scans of one visit again in other views, and tell how far its biomarkers spread."""
        input:
            unpack(spread_files),
            images=visit_scans("scan.nii.gz"),
            records=visit_scans("scan.json"),
        output:
            table=f"{FOUND}/spread.tsv",
        log:
            "<results>/logs/spread_network/{subject}_{visit}.log",
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=8000,
            runtime=40 * SPREAD,
        params:
            identity=lambda wildcards: {
                key: value
                for key, value in identity(wildcards).items()
                if key != "SERIES"
            },
            series=lambda wildcards: SERIES_OF[wildcards.subject, wildcards.visit],
            chests=chests_of_visit,
            roles={"inspiration": IMAGING.get("inspiration")},
            measures=spread_measures,
            tables=spread_tables,
            made=found_of_visit,
            views=SPREAD,
            precision=READING.get("precision", "float32"),
            weights=READING.get("weights"),
            vessel_tracking=READING.get("vessel_tracking", False),
            psf_mm=IMAGING["series"].get(IMAGING.get("inspiration"), {}).get("psf_mm"),
            vessel_hu=IMAGING.get("prm", {}).get("vessel_hu"),
            without_vessels=IMAGING.get("prm", {}).get("leave_out_vessels", False),
            digest=weights_digest(),
            code=code("spread_network"),
        script:
            "../scripts/spread_network.py"
