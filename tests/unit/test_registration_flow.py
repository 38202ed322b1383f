"""Our own registration: its flows, and breaths and visits of phantoms whose motion is known."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from unit.phantom_case import ROW

from lungitude import registration
from lungitude.phantom import breathing, cardiac, render, truth
from lungitude.registration import flow

VOXEL_MM = 4.0
SECTION = {"voxel_mm": [VOXEL_MM] * 3, "vessel_terminals": 800}


def lungs(scan):
    return scan.grid.image(scan.lungs)


def register(fixed, moving, **settings):
    images = (scan.grid.image(render.deliver(scan)) for scan in (fixed, moving))
    return registration.register(
        *images, fixed_mask=lungs(fixed), moving_mask=lungs(moving), **settings
    )


def inside(scan):
    """Points all over the lungs of a scan."""
    where = np.argwhere(scan.lobes > 0)[::7, ::-1]
    return where * np.array(scan.grid.spacing_mm) + np.array(scan.grid.origin_mm)


def distances(transform, points, true):
    return np.linalg.norm(transform.apply_points(points) - true, axis=1)


@pytest.fixture(scope="module")
def record():
    return render.count_lesions(render.prepare(ROW, SECTION))


@pytest.fixture(scope="module")
def scans(record):
    return render.render(record)


@pytest.fixture(scope="module")
def breath(scans):
    return register(scans["insp"], scans["exp"])


@pytest.fixture(scope="module")
def visits(record, scans):
    """Inspirations of three visits: other noise, other depth of breath."""
    found = {"baseline": scans["insp"]}
    for number, depth in ((6, 0.93), (12, 0.97)):
        later = dataclasses.replace(
            record,
            avisit=f"Week {number}",
            inflation=render.emptied(record, depth),
        )
        found[number] = render.render(later, phases=("insp",))["insp"]
    return found


# --- flows --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def space():
    grid = sitk.Image([40, 36, 44], sitk.sitkUInt8)
    grid.SetSpacing([2.0] * 3)
    return flow._Space(grid)


def velocity(space, size_mm, seed=0):
    nodes = space.nodes(8.0)
    made = torch.randn(
        3, *nodes.shape[:3], generator=torch.Generator().manual_seed(seed), dtype=torch.float32
    )
    made = flow._smoothed(made, 2.0)
    middle = (nodes - space.extent_mm / 2).square().sum(-1)
    return size_mm * made / made.abs().max() * torch.exp(-middle / (2 * 15.0**2))


def test_a_flow_and_its_inverse_lead_back(space):
    v = velocity(space, 30.0)
    points = space.extent_mm * torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    there = space.follow(points, [flow._exponential(v, space)])
    back = space.follow(there, [flow._exponential(-v, space)])
    assert (there - points).norm(dim=1).max() > 3.0
    assert (back - points).norm(dim=1).max() < 0.5
    assert (back - points).norm(dim=1).mean() < 0.05


def test_a_steep_velocity_does_not_fold(space):
    v = velocity(space, 150.0, seed=2)
    grid = sitk.Image([40, 36, 44], sitk.sitkUInt8)
    grid.SetSpacing([2.0] * 3)
    plain = registration.Transform(
        sitk.DisplacementFieldTransform(flow._field([v], space, grid, 4.0))
    )
    flown = registration.Transform(
        sitk.DisplacementFieldTransform(
            flow._field([flow._exponential(v, space)], space, grid, 4.0)
        )
    )
    assert sitk.GetArrayFromImage(plain.jacobian(grid)).min() < 0.0
    assert sitk.GetArrayFromImage(flown.jacobian(grid)).min() > 0.0


def test_a_constant_velocity_is_a_translation(space):
    v = torch.zeros(3, *space.nodes(8.0).shape[:3])
    v[0], v[2] = 5.0, -3.0
    moved = flow._exponential(v, space)
    assert torch.allclose(moved, v, atol=1e-4)


# --- lungs --------------------------------------------------------------------------------------


def test_a_breath_of_a_phantom_is_followed(scans, breath):
    points = inside(scans["insp"])
    true = breathing.map_points(scans["insp"].record.breath, points, "insp_to_exp")
    error = distances(breath, points, true)
    assert np.linalg.norm(points - true, axis=1).mean() > 30
    # Goals: a voxel, and 2.5; when written 0.21 and 0.45 voxels.
    assert error.mean() < 0.4 * VOXEL_MM
    assert np.percentile(error, 95) < 0.8 * VOXEL_MM
    found = registration.report(
        *(scan.grid.image(scan.t1) for scan in scans.values()),
        breath,
        tuple(lungs(scan) for scan in scans.values()),
    )
    assert found["folding_pct"] == 0
    assert found["jacobian_mean"] == pytest.approx(found["volume_ratio"], rel=0.02)


def test_forward_and_backward_registration_agree(scans, breath):
    back = register(scans["exp"], scans["insp"])
    points = inside(scans["insp"])
    apart = distances(back, breath.apply_points(points), points)
    assert apart.mean() < 0.25 * VOXEL_MM
    round_trip = distances(breath.inverse(), breath.apply_points(points), points)
    assert round_trip.max() < 0.5


def test_visits_close(visits):
    """Baseline to week 6, to week 12, and back."""
    baseline, six, twelve = visits.values()
    loop = register(baseline, six).compose(register(six, twelve))
    loop = loop.compose(register(twelve, baseline))
    points = inside(baseline)
    assert distances(loop, points, points).mean() < 0.3 * VOXEL_MM
    true = truth.map_points(baseline.record, "insp", six.record, "insp", points)
    assert np.linalg.norm(points - true, axis=1).max() > 5.0
    assert distances(register(baseline, six), points, true).mean() < 0.3 * VOXEL_MM


def test_a_scan_on_itself_does_not_move(scans):
    points = inside(scans["insp"])
    assert distances(register(scans["insp"], scans["insp"]), points, points).max() < 0.05


def test_same_input_same_numbers(scans):
    again = [register(scans["insp"], scans["exp"], spacing_mm=7) for _ in range(2)]
    fields = [sitk.CompositeTransform(made.sitk).GetNthTransform(1) for made in again]
    fields = [
        sitk.GetArrayFromImage(sitk.DisplacementFieldTransform(f).GetDisplacementField())
        for f in fields
    ]
    assert fields[0].tobytes() == fields[1].tobytes()


@pytest.mark.parametrize("backend", ["antspyx", "simpleitk"])
def test_the_other_backends_do_not_contradict(scans, breath, backend):
    other = register(scans["insp"], scans["exp"], backend=backend, spacing_mm=5)
    points = inside(scans["insp"])
    assert distances(other, points, breath.apply_points(points)).mean() < 0.6 * VOXEL_MM


def test_mass_goes_with_the_tissue(scans, breath):
    """Normal lung is as dense as at inspiration once the lost air is counted in."""
    insp, exp = scans["insp"], scans["exp"]
    like, moving = insp.grid.image(insp.t1), exp.grid.image(exp.t1)
    normal = (insp.lobes > 0) & (insp.covers["vessels"] == 0) & (insp.covers["lumen"] == 0)
    normal &= (insp.covers["trapped"] == 0) & (insp.covers["emphysema"] == 0)
    normal = ndimage.binary_erosion(normal, iterations=2)
    plain, kept = (
        float(sitk.GetArrayFromImage(found)[normal].mean())
        for found in (breath.resample(moving, like), breath.resample_mass(moving, like))
    )
    truth_hu = float(insp.t1[normal].mean())
    assert plain - truth_hu > 50
    assert kept == pytest.approx(truth_hu, abs=15)


# --- hearts -------------------------------------------------------------------------------------


def test_phases_of_a_heart(record):
    """End-systole is bent onto end-diastole; a rigid map can't do that."""
    grid = cardiac.heart_grid(record, (2.5, 2.5, 2.5))
    phases = [cardiac.cta(record, phase, grid) for phase in (0.0, 0.35)]
    scans = [phase.grid.image(cardiac.deliver(phase)) for phase in phases]
    labels = [grid.image(cardiac.labels(record, phase.cycle, grid)) for phase in phases]
    masks = [sitk.BinaryDilate(label != 0, [3] * 3) for label in labels]
    rigid = registration.register(*scans, preset="heart")
    bent = registration.register(
        *scans, preset="heart", backend="torch", fixed_mask=masks[0], moving_mask=masks[1]
    )

    def dice(transform):
        found = transform.resample(labels[1], like=labels[0], interpolator="nearest")
        a, b = (sitk.GetArrayFromImage(image) == 1 for image in (found, labels[0]))
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    assert dice(bent) > dice(rigid) + 0.05
    assert dice(bent) > 0.9
