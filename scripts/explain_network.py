"""Show where the network looks in one scan, and tell how far its maps lie on the structures."""

import dataclasses

from lungitude import images, panels_network, tables
from lungitude.job import job_log, whole
from lungitude.networks import evaluation, explain, unseen, weights

LABELS = ("lobes", "airways", "vessels", "heart")


def main(job):
    """Write the panel, its caption and the table, of all outputs that have a label map.

    The scan is the input ``image`` with its label maps, or, without one, that of an unseen patient
    (params ``domain`` and ``case``).
    """
    net = weights.load(job.params.get("weights"))[0]
    scans = [given(job.input)] if job.input.get("image") else unseen_patient(job)
    found = [
        one for scan in scans for one in explain.explain(net, *scan, seed=job.params.get("seed", 0))
    ]
    identity = dict(job.params.identity)
    tables.write(explain.table(found), job.output.table, identity)
    rows = [
        panels_network.Row(one.output.name, one.hu, one.structure, one.heat, one.voxel_mm, one.rows)
        for one in found
    ]
    text = panels_network.panel(
        rows,
        path=job.output.picture,
        title="   ".join(["Where the network looks", *map(str, identity.values())]),
        quantile=job.params.get("quantile", 0.95),
    )
    with whole(job.output.caption) as part:
        part.write_text(text + "\n", encoding="utf-8")


def given(inputs):
    """Return HU, voxel and label maps of a scan on disk."""
    image = images.read(inputs.image)
    labels = {
        name: images.array(images.canonical(images.read_labels(inputs.get(name), like=image)))
        for name in LABELS
        if inputs.get(name)
    }
    turned = images.canonical(image)
    return images.array(turned), images.spacing_zyx(turned), labels


def unseen_patient(job):
    """Return the same of the inspiration of an unseen patient, and of one phase of the heart."""
    case = unseen.case(job.params.case, job.params.domain, job.input.model)
    patient = evaluation.Patient(
        dataclasses.replace(case, how=dataclasses.replace(case.how, phases=1))
    )
    scan, hu = patient.chest
    labels = {"lobes": scan.lobes, **{name: scan.labels[name] for name in ("airways", "vessels")}}
    chest = (hu, scan.grid.spacing_mm[::-1], labels)
    grid, phases, hearts = patient.gated
    return [chest, (phases[0], grid.spacing_mm[::-1], {"heart": hearts[0]})]


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
