"""Show where the network looks in one scan, and tell how far its maps lie on the structures."""

from lungitude import images, panels_network, tables
from lungitude.job import job_log, whole
from lungitude.networks import explain, weights

LABELS = ("lobes", "airways", "vessels", "heart")


def main(job):
    """Write the panel, its caption and the table of all outputs that a label map is given for."""
    image = images.read(job.input.image)
    given = {name: job.input.get(name) for name in LABELS}
    labels = {
        name: images.array(images.canonical(images.read_labels(path, like=image)))
        for name, path in given.items()
        if path
    }
    turned = images.canonical(image)
    hu, spacing_mm = images.array(turned), images.spacing_zyx(turned)
    net = weights.load(job.params.get("weights"))[0]
    found = explain.explain(net, hu, spacing_mm, labels, seed=job.params.get("seed", 0))
    identity = dict(job.params.identity)
    tables.write(explain.table(found), job.output.table, identity)
    text = panels_network.panel(
        [
            panels_network.Row(
                one.output.name, one.hu, one.structure, one.heat, one.voxel_mm, one.rows
            )
            for one in found
        ],
        path=job.output.picture,
        title="   ".join(["Where the network looks", *map(str, identity.values())]),
        quantile=job.params.get("quantile", 0.95),
    )
    with whole(job.output.caption) as part:
        part.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
