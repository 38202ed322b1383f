"""The publications of the software that a run used, as a reference list."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """How the makers of a software want it cited; `doi` is empty where there is none."""

    name: str
    authors: str
    title: str
    source: str
    doi: str = ""


# By distribution name in lower case, as `provenance.versions` names what a run used.
SOFTWARE = {
    "lungitude": Reference(
        "Lungitude", "The Lungitude developers", "Lungitude", "Software; version {version}"
    ),
    "snakemake": Reference(
        "Snakemake",
        "M\u00f6lder F, Jablonski KP, Letcher B, et al.",
        "Sustainable data analysis with Snakemake",
        "F1000Research 2021;10:33",
        "10.12688/f1000research.29032.2",
    ),
    "numpy": Reference(
        "NumPy",
        "Harris CR, Millman KJ, van der Walt SJ, et al.",
        "Array programming with NumPy",
        "Nature 2020;585:357\u2013362",
        "10.1038/s41586-020-2649-2",
    ),
    "scipy": Reference(
        "SciPy",
        "Virtanen P, Gommers R, Oliphant TE, et al.",
        "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        "Nature Methods 2020;17:261\u2013272",
        "10.1038/s41592-019-0686-2",
    ),
    "pandas": Reference(
        "pandas",
        "McKinney W",
        "Data structures for statistical computing in Python",
        "Proceedings of the 9th Python in Science Conference 2010:56\u201361",
        "10.25080/Majora-92bf1922-00a",
    ),
    "statsmodels": Reference(
        "statsmodels",
        "Seabold S, Perktold J",
        "Statsmodels: econometric and statistical modeling with Python",
        "Proceedings of the 9th Python in Science Conference 2010:92\u201396",
        "10.25080/Majora-92bf1922-011",
    ),
    "pingouin": Reference(
        "Pingouin",
        "Vallat R",
        "Pingouin: statistics in Python",
        "Journal of Open Source Software 2018;3(31):1026",
        "10.21105/joss.01026",
    ),
    "matplotlib": Reference(
        "Matplotlib",
        "Hunter JD",
        "Matplotlib: a 2D graphics environment",
        "Computing in Science & Engineering 2007;9(3):90\u201395",
        "10.1109/MCSE.2007.55",
    ),
    "simpleitk": Reference(
        "SimpleITK",
        "Lowekamp BC, Chen DT, Ib\u00e1\u00f1ez L, Blezek D",
        "The design of SimpleITK",
        "Frontiers in Neuroinformatics 2013;7:45",
        "10.3389/fninf.2013.00045",
    ),
    "antspyx": Reference(
        "ANTsPy",
        "Tustison NJ, Cook PA, Holbrook AJ, et al.",
        "The ANTsX ecosystem for quantitative biological and medical imaging",
        "Scientific Reports 2021;11:9068",
        "10.1038/s41598-021-87564-6",
    ),
    "scikit-image": Reference(
        "scikit-image",
        "van der Walt S, Sch\u00f6nberger JL, Nunez-Iglesias J, et al.",
        "scikit-image: image processing in Python",
        "PeerJ 2014;2:e453",
        "10.7717/peerj.453",
    ),
    "torch": Reference(
        "PyTorch",
        "Paszke A, Gross S, Massa F, et al.",
        "PyTorch: an imperative style, high-performance deep learning library",
        "Advances in Neural Information Processing Systems 2019;32:8024\u20138035",
    ),
    "monai": Reference(
        "MONAI",
        "Cardoso MJ, Li W, Brown R, et al.",
        "MONAI: an open-source framework for deep learning in healthcare",
        "arXiv 2022:2211.02701",
        "10.48550/arXiv.2211.02701",
    ),
}


def cited(versions):
    """Name the software of a run with its versions, each with the number of its reference.

    Parameters
    ----------
    versions : dict of str to str
        Software and version.

    Returns
    -------
    list of str
        A piece each, such as "pandas 2.3.3 [4]"; without a number where no publication is known.
    list of str
        The references in the order of their numbers.
    """
    pieces, references = [], []
    for name, version in versions.items():
        found = SOFTWARE.get(name.lower())
        if found is None:
            pieces.append(f"{name} {version}")
            continue
        references.append(f"[{len(references) + 1}] {printed(found, version)}")
        pieces.append(f"{found.name} {version} [{len(references)}]")
    return pieces, references


def printed(reference, version=""):
    """Return a reference as a reference list prints it."""
    doi = f" doi:{reference.doi}" if reference.doi else ""
    source = reference.source.format(version=version)
    return f"{reference.authors.rstrip('.')}. {reference.title}. {source}.{doi}"
