"""Segmentation software that is installed beside this project: found, checked, and run.

Plain Python without imaging libraries. Nothing is downloaded and nothing is sent: a run starts
only with its weights in place, and its process is told of a proxy that isn't there.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

from lungitude import label_names

log = logging.getLogger(__name__)

# One setting a kernel library; PYTHON_CPU_COUNT (Python 3.13 on) tells nnU-Net, which otherwise
# takes every core there is.
THREADS = (
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_NUM_THREADS "
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS PYTHON_CPU_COUNT"
).split()
# A proxy that isn't there: no download of weights, no statistics.
NOWHERE = "http://127.0.0.1:9"
# What they say before they go on without a GPU, for hours.
NO_GPU = ("No GPU detected", "No GPU found")
# Task -> label map, numbers of the data sets of its weights (the last one finds the organ that
# is cut out first), and whether it needs a licence. As of TotalSegmentator 2.18.0.
TOTALSEGMENTATOR_TASKS = {
    "total": ("totalsegmentator", (291, 292, 293, 294, 295, 298), False),
    "lung_vessels": ("totalsegmentator_lung_vessels", (117, 297), False),
    "heartchambers_highres": ("totalsegmentator_heartchambers_highres", (301, 297), True),
    "coronary_arteries": ("totalsegmentator_coronary_arteries", (509, 298), True),
}
LICENCE_PAGE = "https://backend.totalsegmentator.com/license-academic/"
# Model -> label map, files of its weights
LUNGMASK_MODELS = {
    "R231": ("lungmask", ("unet_r231-*.pth",)),
    "R231CovidWeb": ("lungmask", ("unet_r231covid-*.pth",)),
    "LTRCLobes": ("lungmask_lobes", ("unet_ltrclobes-*.pth",)),
    "LTRCLobes_R231": ("lungmask_lobes", ("unet_ltrclobes-*.pth", "unet_r231-*.pth")),
}
_VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


class NotReadyError(ValueError):
    """Software, weights or a licence are missing; says what to do."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """Settings of one run, as `imaging: external` of config.yaml gives them.

    Attributes
    ----------
    task : str
        Task or model; '' for nnU-Net, whose folder of weights is the model.
    weights : path, optional
        Folder of the weights; where the software keeps them if absent.
    device : {"cpu", "gpu"}
    threads : int
    """

    task: str = ""
    weights: str | None = None
    device: str = "cpu"
    threads: int = 1

    executable = package = install = licence = ""

    def check(self):
        """Return the provenance of a run: software, version, task, licence, weights and labels.

        Raises
        ------
        NotReadyError
            Something is missing.
        """
        files = self.ready()
        return {
            "software": self.package,
            "version": version(self.program(), self.package),
            "task": self.task,
            "licence": self.licence,
            "device": self.device,
            "weights": {name: _digest(paths) for name, paths in files.items()},
            "labels": self.labels(),
        }

    def ready(self):
        """Return the files of the weights, as `weight_files`, if nothing is missing."""
        self.program()
        return self.weight_files()

    def program(self):
        """Return the path of the executable."""
        found = shutil.which(self.executable)
        if not found:
            raise NotReadyError(
                f"{self.package} isn't installed: no '{self.executable}' on the PATH; install it "
                f"({self.install}), or run Snakemake with --software-deployment-method conda"
            )
        return found

    def segment(self, scan, target, scratch):
        """Run the software on one 3-D scan.

        Parameters
        ----------
        scan : path
            NIfTI, CT in HU.
        target : path
            Where the label map is to lie, in the suffix that `suffix` tells.
        scratch : Path
            An empty folder that is removed afterwards.

        Raises
        ------
        RuntimeError
            The program fails, writes no label map, or has no GPU where one is asked for.
        """
        command = [self.program(), *self.arguments(Path(scan), Path(target), scratch)]
        log.info("%s", " ".join(map(str, command)))
        said = ""
        with subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=os.environ | self.environment(scratch),
        ) as process:
            for line in filter(None, map(str.strip, process.stdout)):
                log.info("%s: %s", self.executable, line)
                said = line
                if self.device == "gpu" and any(sign in line for sign in NO_GPU):
                    process.kill()
                    raise RuntimeError(f"{self.package} finds no GPU; mend that or say device: cpu")
        if process.returncode:
            raise RuntimeError(
                f"{self.package} ended with status {process.returncode}: {said[:300] or 'no word'}"
            )
        self.collect(scratch, Path(target))
        if not Path(target).is_file():
            raise RuntimeError(f"{self.package} ended well, but wrote no label map")

    def environment(self, scratch):
        """Return what is set for the process: threads, and a proxy that isn't there."""
        proxies = ("http_proxy", "https_proxy", "all_proxy")
        ways = {name: NOWHERE for proxy in proxies for name in (proxy, proxy.upper())}
        return {
            "PYTHONUNBUFFERED": "1",
            **dict.fromkeys(THREADS, str(self.threads)),
            **ways,
            "no_proxy": "",
            "NO_PROXY": "",
        }

    def suffix(self):
        """Return the suffix of the images that it reads and writes."""
        return ".nii.gz"

    def collect(self, scratch, target):
        """Put the label map where it is wanted, if the program wrote it elsewhere."""

    def labels(self):
        """Return name and code of each label of the chest."""
        return dict(label_names.MAPS[self.label_map()])

    def label_map(self):
        """Return what `label_names.code_pairs` takes for the output."""
        raise NotImplementedError

    def weight_files(self):
        """Return the files of each set of weights, by name.

        Raises
        ------
        NotReadyError
            One is missing.
        """
        raise NotImplementedError

    def arguments(self, scan, target, scratch):
        """Return the command line after the program."""
        raise NotImplementedError


class TotalSegmentator(Backend):
    """TotalSegmentator 2, one multi-label file a task."""

    executable = "TotalSegmentator"
    package = "TotalSegmentator"
    install = "pip install TotalSegmentator==2.18.0"

    @property
    def licence(self):
        """Return what holds for code and weights."""
        weights = "need a licence of their makers" if self._task()[2] else "open for any usage"
        return f"code Apache-2.0; weights {weights}"

    def label_map(self):
        """Return the key of `label_names.MAPS`."""
        return self._task()[0]

    def ready(self):
        """Return the files of the weights, as `Backend.ready`; asks for a licence, too."""
        files = super().ready()
        if self._task()[2] and not self._own_config().get("license_number"):
            raise NotReadyError(
                f"task '{self.task}' of TotalSegmentator needs a licence, free for non-commercial "
                f"use ({LICENCE_PAGE}); set it by 'totalseg_set_license'"
            )
        return files

    def weight_files(self):
        """Return the files of each data set that the task needs."""
        folder = self._weights()
        found, lacking = {}, []
        for number in self._task()[1]:
            sets = [p for p in sorted(folder.glob(f"Dataset{number:03d}_*")) if _trained(p)]
            if sets:
                found[sets[0].name] = _model_files(sets[0])
            else:
                lacking.append(f"Dataset{number:03d}")
        if lacking:
            raise NotReadyError(
                f"weights of TotalSegmentator are missing in {folder}: {', '.join(lacking)}; fetch "
                f"them once by 'totalseg_download_weights -t {self.task}' where there is a network"
                + (", and '-t total_fast'" if self.task != "total" else "")
            )
        return found

    def environment(self, scratch):
        """Give it a home of its own for the time of the run, in which statistics are off.

        What the user's own config.json holds besides (the licence) is copied; that file itself is
        neither read by the program nor written.
        """
        home = scratch / "home"
        home.mkdir()
        config = {
            "totalseg_id": "",
            "prediction_counter": 0,
            **self._own_config(),
            "send_usage_stats": False,
            "statistics_disclaimer_shown": True,
        }
        (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return {
            **super().environment(scratch),
            "TOTALSEG_HOME_DIR": str(home),
            "TOTALSEG_WEIGHTS_PATH": str(self._weights()),
        }

    def arguments(self, scan, target, scratch):
        """Return the command line; of task total the lobes alone."""
        command = ["-i", scan, "-o", target, "--ml", "--task", self.task]
        command += ["--device", self.device]
        command += ["--nr_thr_resamp", self.threads, "--nr_thr_saving", 1]
        if self.task == "total":
            theirs = label_names.choose(self.labels(), label_names.COLUMNS["LABELS"])[1]
            command += ["--roi_subset", *theirs.values()]
        return command

    def _task(self):
        if self.task not in TOTALSEGMENTATOR_TASKS:
            raise NotReadyError(
                f"task '{self.task}' of TotalSegmentator gives nothing that is measured; known: "
                f"{', '.join(TOTALSEGMENTATOR_TASKS)}"
            )
        return TOTALSEGMENTATOR_TASKS[self.task]

    def _home(self):
        own = os.environ.get("TOTALSEG_HOME_DIR")
        return Path(own) if own else Path.home() / ".totalsegmentator"

    def _weights(self):
        given = self.weights or os.environ.get("TOTALSEG_WEIGHTS_PATH")
        return Path(given) if given else self._home() / "nnunet" / "results"

    def _own_config(self):
        try:
            return json.loads((self._home() / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


class Lungmask(Backend):
    """lungmask: lungs or lobes by a U-Net on slices."""

    executable = "lungmask"
    package = "lungmask"
    install = "pip install lungmask==0.2.22"
    licence = "code Apache-2.0; weights without terms of their own"

    def label_map(self):
        """Return the key of `label_names.MAPS`."""
        return self._task()[0]

    def weight_files(self):
        """Return the file of each network."""
        folder = self._weights()
        found = {}
        for pattern in self._task()[1]:
            files = sorted(folder.glob(pattern))
            if not files:
                raise NotReadyError(
                    f"weights of lungmask are missing: no {pattern} in {folder}; run 'lungmask' "
                    f"with '--modelname {self.task}' once where there is a network, or name their "
                    "folder in 'weights'"
                )
            found[files[0].name] = files[:1]
        return found

    def environment(self, scratch):
        """Point the cache of torch to the weights."""
        hub = scratch / "torch" / "hub"
        hub.mkdir(parents=True)
        (hub / "checkpoints").symlink_to(self._weights().resolve(), target_is_directory=True)
        return {**super().environment(scratch), "TORCH_HOME": str(hub.parent)}

    def arguments(self, scan, target, scratch):
        """Return the command line; no metadata goes with the label map."""
        flags = ["--noprogress", "--removemetadata", *(["--cpu"] * (self.device == "cpu"))]
        return [scan, target, "--modelname", self.task, *flags]

    def _task(self):
        if self.task not in LUNGMASK_MODELS:
            raise NotReadyError(
                f"model '{self.task}' of lungmask is unknown; known: {', '.join(LUNGMASK_MODELS)}"
            )
        return LUNGMASK_MODELS[self.task]

    def _weights(self):
        if self.weights:
            return Path(self.weights)
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch") / "hub" / "checkpoints"


class NnUNet(Backend):
    """A trained nnU-Net 2 with one channel, CT."""

    executable = "nnUNetv2_predict_from_modelfolder"
    package = "nnunetv2"
    install = "pip install nnunetv2==2.8.1"
    licence = "code Apache-2.0; weights as their makers say"

    def label_map(self):
        """Return the path of the model's ``dataset.json``."""
        return str(self._weights() / "dataset.json")

    def labels(self):
        """Return name and codes of each label of the model."""
        return label_names.dataset_codes(self.label_map())

    def weight_files(self):
        """Return the files of the model."""
        folder = self._weights()
        for name in ("dataset.json", "plans.json"):
            if not (folder / name).is_file():
                raise NotReadyError(
                    f"no {name} in {folder}; 'weights' of an nnU-Net is the folder of the trained "
                    "model, such as Dataset501_Lobes/nnUNetTrainer__nnUNetPlans__3d_fullres"
                )
        if not _folds(folder):
            raise NotReadyError(f"no fold_*/checkpoint_final.pth in {folder}; is it trained?")
        channels = self._dataset().get("channel_names", {})
        if len(channels) != 1:
            raise NotReadyError(f"{folder}: the model wants {len(channels)} images, a scan is one")
        return {folder.parent.name or folder.name: _model_files(folder)}

    def suffix(self):
        """Return the suffix that the model was trained with."""
        return self._dataset().get("file_ending", ".nii.gz")

    def arguments(self, scan, target, scratch):
        """Return the command line; all folds that are there are averaged."""
        here, there = scratch / "in", scratch / "out"
        here.mkdir()
        shutil.copyfile(scan, here / f"scan_0000{self.suffix()}")
        command = ["-i", here, "-o", there, "-m", self._weights(), "-f", *_folds(self._weights())]
        command += ["-device", "cuda" if self.device == "gpu" else "cpu"]
        return [*command, "-npp", 1, "-nps", 1, "--disable_progress_bar"]

    def collect(self, scratch, target):
        """Take the label map out of the program's folder."""
        made = scratch / "out" / f"scan{self.suffix()}"
        if made.is_file():
            shutil.move(made, target)

    def _weights(self):
        if not self.weights:
            raise NotReadyError("an nnU-Net needs 'weights', the folder of the trained model")
        return Path(self.weights)

    def _dataset(self):
        return json.loads((self._weights() / "dataset.json").read_text(encoding="utf-8"))


SOFTWARE = {"totalsegmentator": TotalSegmentator, "lungmask": Lungmask, "nnunet": NnUNet}


def backend(software, task="", weights=None, device="cpu", threads=1):
    """Return the backend of a run.

    Parameters
    ----------
    software : {"totalsegmentator", "lungmask", "nnunet"}
    task, weights, device, threads
        As `Backend`.

    Raises
    ------
    NotReadyError
        Unknown software.
    """
    if software not in SOFTWARE:
        raise NotReadyError(f"software '{software}' is unknown; known: {', '.join(SOFTWARE)}")
    return SOFTWARE[software](task, weights, device, threads)


def settings_of(run):
    """Return what `backend` takes of a run of `imaging: external`; threads are the job's."""
    return {key: value for key, value in run.items() if key not in ("fills", "threads")}


def version(program, package):
    """Return the version of a Python package, asked of the interpreter that runs a program."""
    program = Path(program).resolve()
    asked = [str(program.with_name("python"))]
    if not Path(asked[0]).exists():
        with open(program, "rb") as file:
            first = file.readline(1000).decode("utf-8", "replace")
        if not first.startswith("#!"):
            return "unknown"
        asked = first[2:].split()
    try:
        told = subprocess.run(  # noqa: S603
            [*asked, "-c", _VERSION, package], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip() or "unknown"


def _folds(folder):
    """Names of the trained folds of a model, without their prefix."""
    return sorted(path.parent.name[5:] for path in folder.glob("fold_*/checkpoint_final.pth"))


def _trained(dataset):
    """Whether a data set's folder holds a trained model."""
    return any(dataset.glob("*/fold_*/checkpoint_final.pth"))


def _model_files(folder):
    """Return the files of models that their predictions depend on."""
    names = ("checkpoint_final.pth", "plans.json", "dataset.json")
    return sorted(path for name in names for path in folder.rglob(name))


def _digest(paths):
    """Digest the content of files, however large, as 16 hexadecimal digits."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
