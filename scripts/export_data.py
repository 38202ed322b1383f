"""Write the analysis data sets as CSV, SAS transport file and Dataset-JSON, and define.xml."""

from lungitude import exchange, metadata, tables
from lungitude.job import job_log, whole


def main(job):
    """Write each data set that the trial has in each format.

    Raises
    ------
    ValueError
        With all that a SAS transport file can't hold, of all data sets, before any is written.
    """
    params = job.params
    labels = {item["column"]: item.get("label", item["column"]) for item in params.columns}
    own = metadata.own_codes(params.arms, params.columns)
    frames, described = {}, {}
    for dataset in metadata.DATASETS:
        path = getattr(job.input, dataset.lower(), None)
        if path is not None:
            frame = frames[dataset] = tables.read_parquet(path)
            described[dataset] = exchange.variables(frame, labels, dataset, own)
    exchange.check({name: (frames[name], found) for name, found in described.items()})
    for dataset, found in described.items():
        frame, label = frames[dataset], metadata.DATASETS[dataset].label
        paths = {
            suffix: getattr(job.output, f"{dataset.lower()}_{suffix}")
            for suffix in ("csv", "xpt", "json")
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
