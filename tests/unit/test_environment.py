"""One set of versions: the lock, the conda environments and the project agree."""

import re
import tomllib

import yaml

from helpers import ROOT
from lungitude.backends import SOFTWARE

# What the project's own scripts import in the environments of other software.
SHARED = {"numpy", "simpleitk", "torch"}


def normal(name):
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()


def lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    return {normal(pin.split("==")[0]): pin.split("==")[1] for pin in pins}


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        asked += extra
    assert {normal(name) for name in asked} <= set(lock())


def test_conda_environments_name_the_versions_of_the_lock():
    pins = lock()
    for path in sorted((ROOT / "envs").glob("*.yaml")):
        asked = yaml.safe_load(path.read_text())["dependencies"]
        (pip,) = (part for part in asked if isinstance(part, dict))
        for line in pip["pip"]:
            name, version = line.split("==")
            if path.stem not in SOFTWARE or normal(name) in SHARED:
                assert pins[normal(name)] == version, f"{path.name}: {name}"


def test_every_software_of_others_has_its_environment():
    for name, backend in SOFTWARE.items():
        text = (ROOT / "envs" / f"{name}.yaml").read_text()
        assert backend.install.removeprefix("pip install ") in text, name
        assert "licence" in text or "Apache-2.0" in text, name


def test_torch_has_no_local_suffix():
    assert lock()["torch"] == "2.13.0"


def test_what_runs_is_what_is_locked():
    from importlib.metadata import version

    for name in ("numpy", "scipy", "pandas", "statsmodels", "snakemake", "SimpleITK"):
        assert version(name) == lock()[normal(name)]
