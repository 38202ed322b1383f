"""The worked example of the README is a trial that the project accepts and analyses."""

import re

import yaml

from helpers import ROOT, snakemake
from lungitude import trial

PLAN = """
populations: {ITT: {label: Intention to treat, rule: randomised}}
analyses: {disposition: {}, baseline: {}, describe: {}, ancova: {covariates: [BASE, AGE]}}
primary: {parameter: FEV1, visit: Month 12, method: ancova}
displays: [{id: table_primary, title: Change from baseline}]
"""


def example(folder):
    """Write the README's example, with made-up values for twelve patients."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(trial: mytrial\n.*?)```", text, flags=re.DOTALL)
    folder.mkdir(parents=True)
    content = yaml.safe_load(block)
    del content["sheets"]["scans"]
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (folder / "plan.yaml").write_text(PLAN)
    rows = {"subjects": ["USUBJID\tAGE\tSEX\tSITE\tRANDDT"], "randomisation": ["USUBJID\tARM"]}
    rows["measurements"] = ["USUBJID\tAVISIT\tPARAMCD\tAVAL\tAVALU\tADT"]
    for i in range(12):
        subject = f"P-{i:03d}"
        rows["subjects"].append(f"{subject}\t{60 + i}\t{'MF'[i % 2]}\t{'AB'[i % 2]}\t2025-02-11")
        rows["randomisation"].append(f"{subject}\t{('ACT', 'ACT', 'PBO')[i % 3]}")
        for month, visit in enumerate(("Baseline", "Month 6", "Month 12")):
            value = 1.4 + 0.03 * i + 0.05 * month * (i % 3 != 2) + 0.01 * ((i * 7 + month) % 5)
            rows["measurements"].append(f"{subject}\t{visit}\tFEV1\t{value:.2f}\tL\t")
    rows["parameters"] = [
        "PARAMCD\tPARAM\tAVALU\tLOW\tHIGH\tDECIMALS\tDIRECTION\tDATASET\tCATEGORY",
        "FEV1\tForced expiratory volume in 1 s\tL\t0.2\t7\t2\thigher\tADFUN\tSpirometry",
    ]
    for name, lines in rows.items():
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_example_runs_to_its_report(tmp_path):
    folder = example(tmp_path / "config" / "mytrial")
    assert trial.load(folder / "config.yaml").config["visits"][1]["imaging"] is False
    snakemake(folder, cores=2)
    page = tmp_path / "results" / "mytrial" / "report" / "all" / "report.html"
    assert "Inhaled therapy in emphysema" in page.read_text(encoding="utf-8")


def test_every_target_and_folder_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)", text, flags=re.MULTILINE)):
        assert f"\n{target}:" in makefile
    for path in ("config/paper", "config/demo", "config/public", "profiles/slurm", "envs"):
        assert path in text
        assert (ROOT / path).exists()
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (ROOT / picture).exists()
