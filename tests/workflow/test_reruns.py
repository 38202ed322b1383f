"""Code that changes reruns what imports it, and nothing else."""

import re
import shutil

from helpers import ROOT, snakemake


def planned(folder, project):
    run = snakemake(folder, "-n", "--quiet", "rules", project=project)
    found = re.findall(r"^(\w+)\s+(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in found if rule not in ("total", "job", "all")}


def touch_code(project, module):
    path = project / "scripts" / "lungitude" / module
    path.write_text(path.read_text() + "\n# a change\n")


def test_an_edited_module_reruns_what_imports_it(tiny, tmp_path):
    project = tmp_path / "project"
    for name in ("rules", "scripts", "envs", "profiles"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "config" / "schemas", project / "config" / "schemas")
    shutil.copy(ROOT / "Snakefile", project / "Snakefile")
    snakemake(tiny, project=project, cores=2)
    assert planned(tiny, project) == {}

    touch_code(project, "reporting/figure_flow.py")
    found = planned(tiny, project)
    assert set(found) == {"render_displays", "write_documents", "report_stratum"}
    assert found["render_displays"] == 5
    snakemake(tiny, "--touch", project=project)  # as if it had run again
    assert planned(tiny, project) == {}

    touch_code(project, "analysis/agreement.py")
    found = planned(tiny, project)
    assert found["analyse"] == 1
    assert "derive_adam" not in found
    assert "gather_measurements" not in found
    assert "report_stratum" in found

    # Images have no part in a trial of tables.
    snakemake(tiny, "--touch", project=project)
    touch_code(project, "segmentation.py")
    assert planned(tiny, project) == {}
