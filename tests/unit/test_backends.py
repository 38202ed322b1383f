"""Software of others, stood in for by programs with the same command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit import fake_backends as fakes

from lungitude import backends, images, label_names
from lungitude.backends import NotReadyError

ALL = (117, 291, 292, 293, 294, 295, 297, 298, 301, 509)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No software of this machine, and no home of its user."""
    for name in ("TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@pytest.fixture
def scan(tmp_path):
    images.write(fakes.chest(), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def totalsegmentator(monkeypatch, tmp_path, task="total", sets=ALL, **settings):
    folder = fakes.install(tmp_path / "bin", "TotalSegmentator")
    fakes.on_path(monkeypatch, folder)
    weights = fakes.trained(tmp_path / "weights", *sets)
    return backends.backend("totalsegmentator", task, str(weights), **settings), folder


def segment(backend, scan, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    target = tmp_path / f"labels{backend.suffix()}"
    backend.segment(scan, target, scratch)
    return images.array(images.read_labels(target, like=images.read(scan)))


def test_totalsegmentator_writes_lobes(monkeypatch, tmp_path, scan):
    backend, folder = totalsegmentator(monkeypatch, tmp_path, threads=3)
    found = segment(backend, scan, tmp_path)
    assert set(np.unique(found)) == {0, 10, 11, 12, 14}
    called = fakes.called(folder)
    args = called["args"]
    assert args[args.index("--roi_subset") + 1 :] == [
        "lung_upper_lobe_right",
        "lung_middle_lobe_right",
        "lung_lower_lobe_right",
        "lung_upper_lobe_left",
        "lung_lower_lobe_left",
    ]
    assert {"--ml", "--device", "cpu"} <= set(args)
    assert called["env"]["OMP_NUM_THREADS"] == called["env"]["PYTHON_CPU_COUNT"] == "3"
    assert args[args.index("--nr_thr_resamp") + 1] == "3"


def test_nothing_is_sent_and_the_user_s_file_stays(monkeypatch, tmp_path, scan):
    backend, folder = totalsegmentator(monkeypatch, tmp_path, "heartchambers_highres")
    own = tmp_path / "user" / ".totalsegmentator" / "config.json"
    own.parent.mkdir(parents=True)
    text = json.dumps({"send_usage_stats": True, "totalseg_id": "x", "license_number": "aca_1"})
    own.write_text(text)
    record = backend.check()
    segment(backend, scan, tmp_path)
    called = fakes.called(folder)
    assert called["config"]["send_usage_stats"] is False
    assert called["config"]["license_number"] == "aca_1"
    assert own.read_text() == text
    assert Path(called["env"]["TOTALSEG_HOME_DIR"]) != own.parent
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        assert called["env"][name] == backends.NOWHERE
    assert "aca_1" not in json.dumps(record)
    assert "licence of their makers" in record["licence"]


def test_a_task_under_licence_asks_for_it(monkeypatch, tmp_path):
    for task in ("heartchambers_highres", "coronary_arteries"):
        backend = backends.backend("totalsegmentator", task, str(tmp_path / "weights"))
        (tmp_path / "weights").mkdir(exist_ok=True)
        with pytest.raises(NotReadyError, match="no 'TotalSegmentator' on the PATH"):
            backend.ready()
    backend, _ = totalsegmentator(monkeypatch, tmp_path, "coronary_arteries")
    with pytest.raises(NotReadyError, match="needs a licence, free for non-commercial use"):
        backend.check()


@pytest.mark.parametrize(
    ("task", "lacking", "told"),
    [
        ("total", 298, "-t total'"),
        ("total", 293, "Dataset293; fetch them once by 'totalseg_download_weights -t total'"),
        ("lung_vessels", 117, "-t lung_vessels' where there is a network, and '-t total_fast'"),
        ("lung_vessels", 297, "Dataset297;"),
        ("heartchambers_highres", 301, "Dataset301;"),
    ],
)
def test_missing_weights_are_told_before_a_run(monkeypatch, tmp_path, task, lacking, told):
    sets = [number for number in ALL if number != lacking]
    backend, folder = totalsegmentator(monkeypatch, tmp_path, task, sets)
    with pytest.raises(NotReadyError, match="weights of TotalSegmentator are missing") as error:
        backend.check()
    assert told in str(error.value)
    assert not (folder / "called.json").exists()


def test_weights_that_were_only_half_fetched_are_missing(monkeypatch, tmp_path):
    backend, _ = totalsegmentator(monkeypatch, tmp_path)
    next((tmp_path / "weights").glob("Dataset291*/*/fold_0/checkpoint_final.pth")).unlink()
    with pytest.raises(NotReadyError, match="Dataset291"):
        backend.ready()


@pytest.mark.parametrize("place", ["home", "TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH"])
def test_weights_are_looked_for_where_the_software_keeps_them(monkeypatch, tmp_path, place):
    fakes.on_path(monkeypatch, fakes.install(tmp_path / "bin", "TotalSegmentator"))
    folder = tmp_path / "user" / ".totalsegmentator" / "nnunet" / "results"
    if place == "TOTALSEG_HOME_DIR":
        folder = tmp_path / "else" / "nnunet" / "results"
        monkeypatch.setenv(place, str(tmp_path / "else"))
    elif place == "TOTALSEG_WEIGHTS_PATH":
        folder = tmp_path / "w"
        monkeypatch.setenv(place, str(folder))
    fakes.trained(folder, *ALL)
    found = backends.backend("totalsegmentator", "total").check()
    assert len(found["weights"]) == 6


def test_a_record_names_version_and_weights(monkeypatch, tmp_path):
    backend, _ = totalsegmentator(monkeypatch, tmp_path)
    record = backend.check()
    assert (record["software"], record["version"]) == ("TotalSegmentator", fakes.VERSION)
    assert record["labels"] == label_names.MAPS["totalsegmentator"]
    assert list(record["weights"]) == [f"Dataset{n}_some" for n in (291, 292, 293, 294, 295, 298)]
    assert all(len(digest) == 16 for digest in record["weights"].values())
    file = next((tmp_path / "weights").glob("Dataset291*/*/fold_0/checkpoint_final.pth"))
    file.write_text("trained anew")
    changed = backend.check()["weights"]
    differ = [name for name in changed if changed[name] != record["weights"][name]]
    assert differ == ["Dataset291_some"]


def test_a_version_that_cannot_be_asked_is_unknown(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\0\0")
    assert backends.version(program, "lungmask") == "unknown"
    program.write_text("#!/nowhere/python\n")
    assert backends.version(program, "lungmask") == "unknown"


def test_a_run_that_fails_tells_its_last_line(monkeypatch, tmp_path, scan):
    backend, folder = totalsegmentator(monkeypatch, tmp_path)
    (folder / "mode").write_text("fail")
    with pytest.raises(RuntimeError, match="ended with status 3: RuntimeError: CUDA out of mem"):
        segment(backend, scan, tmp_path)


def test_a_gpu_that_is_not_there_ends_a_run_at_once(monkeypatch, tmp_path, scan):
    backend, folder = totalsegmentator(monkeypatch, tmp_path, device="gpu")
    (folder / "mode").write_text("no gpu")
    with pytest.raises(RuntimeError, match="finds no GPU; mend that or say device: cpu"):
        segment(backend, scan, tmp_path)
    args = fakes.called(folder)["args"]
    assert args[args.index("--device") + 1] == "gpu"


def test_a_run_without_label_map_is_told(monkeypatch, tmp_path, scan):
    backend, folder = totalsegmentator(monkeypatch, tmp_path)
    (folder / "mode").write_text("nothing")
    with pytest.raises(RuntimeError, match="ended well, but wrote no label map"):
        segment(backend, scan, tmp_path)


@pytest.mark.parametrize(
    ("model", "files", "codes"),
    [("R231", ["unet_r231-1.pth"], {1, 2}), ("LTRCLobes", ["unet_ltrclobes-2.pth"], {1, 2, 3, 5})],
)
def test_lungmask(monkeypatch, tmp_path, scan, model, files, codes):
    folder = fakes.install(tmp_path / "bin", "lungmask")
    fakes.on_path(monkeypatch, folder)
    weights = tmp_path / "user" / ".cache" / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    (weights / "unet_r231covid-3.pth").write_text("another network")
    backend = backends.backend("lungmask", model)
    with pytest.raises(NotReadyError, match=r"weights of lungmask are missing: no unet_\w+-\*.pth"):
        backend.check()
    for file in files:
        (weights / file).write_text(file)
    assert list(backend.check()["weights"]) == files
    assert set(np.unique(segment(backend, scan, tmp_path))) == {0, *codes}
    called = fakes.called(folder)
    assert {"--cpu", "--removemetadata"} <= set(called["args"])
    assert set(files) <= set(called["networks"])


def test_a_fused_model_needs_both_networks(tmp_path):
    (tmp_path / "unet_ltrclobes-2.pth").write_text("")
    backend = backends.backend("lungmask", "LTRCLobes_R231", str(tmp_path))
    with pytest.raises(NotReadyError, match="no unet_r231-"):
        backend.weight_files()


@pytest.mark.parametrize("file_ending", [".nii.gz", ".nrrd"])
def test_nnunet(monkeypatch, tmp_path, file_ending):
    name = "nnUNetv2_predict_from_modelfolder"
    folder = fakes.install(tmp_path / "bin", name)
    fakes.on_path(monkeypatch, folder)
    weights = fakes.model(tmp_path, file_ending=file_ending)
    backend = backends.backend("nnunet", weights=str(weights), device="gpu")
    record = backend.check()
    assert record["labels"] == {"left lung": [1], "right lung": [2]}
    assert list(record["weights"]) == ["Dataset501_Lungs"]
    scan = tmp_path / f"ct{backend.suffix()}"
    images.write(fakes.chest(), scan)
    found = segment(backend, scan, tmp_path)
    pairs, scheme = label_names.code_pairs(backend.label_map())
    assert (pairs, scheme) == ({1: 2, 2: 1}, "lungs")
    assert [np.count_nonzero(found == code) for code in (2, 1)] == fakes.VOXELS
    args = fakes.called(folder)["args"]
    assert args[args.index("-f") + 1 : args.index("-device") + 2] == ["0", "2", "-device", "cuda"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: (m / "dataset.json").unlink(), "no dataset.json in .*folder of the trained"),
        (lambda m: (m / "plans.json").unlink(), "no plans.json in"),
        (lambda m: (m / "fold_0" / "checkpoint_final.pth").unlink(), "is it trained"),
    ],
)
def test_a_folder_that_is_no_trained_nnunet(tmp_path, change, told):
    folder = fakes.model(tmp_path, folds=(0,))
    change(folder)
    with pytest.raises(NotReadyError, match=told):
        backends.backend("nnunet", weights=str(folder)).weight_files()


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(NotReadyError, match="software 'slicer' is unknown; known: totalsegm"):
        backends.backend("slicer")
    with pytest.raises(NotReadyError, match="task 'liver_vessels' of TotalSegmentator gives noth"):
        backends.backend("totalsegmentator", "liver_vessels").label_map()
    with pytest.raises(NotReadyError, match="model 'R232' of lungmask is unknown"):
        backends.backend("lungmask", "R232").label_map()
    with pytest.raises(NotReadyError, match="an nnU-Net needs 'weights'"):
        backends.backend("nnunet").weight_files()
    with pytest.raises(NotReadyError, match="the model wants 2 images"):
        backends.backend("nnunet", weights=str(fakes.model(tmp_path, channels=2))).weight_files()


def test_every_task_has_its_label_map():
    for task, (name, *_) in backends.TOTALSEGMENTATOR_TASKS.items():
        assert label_names.columns_of(name), task
    for model, (name, _) in backends.LUNGMASK_MODELS.items():
        assert label_names.columns_of(name) == ["LABELS"], model
