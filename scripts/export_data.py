"""Write the analysis data sets as CSV, SAS transport file and Dataset-JSON, and define.xml."""

from lungitude import exchange, tables
from lungitude.job import job_log, whole


def main(job):
    """Write each data set in each format."""
    params = job.params
    labels = {item["column"]: item.get("label", item["column"]) for item in params.columns}
    described = {}
    for dataset, (label, _, _) in exchange.DATASETS.items():
        name = dataset.lower()
        frame = tables.read_parquet(getattr(job.input, name))
        found = described[dataset] = exchange.variables(frame, labels)
        paths = {
            suffix: getattr(job.output, f"{name}_{suffix}") for suffix in ("csv", "xpt", "json")
        }
        with whole(paths["csv"]) as part:
            frame.to_csv(part, index=False, lineterminator="\n", float_format="%.10g")
        exchange.write_xpt(frame, paths["xpt"], dataset, label, found)
        exchange.write_dataset_json(
            frame, paths["json"], dataset, label, found, params.study, params.cut
        )
    exchange.write_define(described, job.output.define, params.study, params.title, params.cut)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
