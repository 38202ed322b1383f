"""What is measured of the lungs of one scan: density, low attenuation and its clusters."""

from lungitude.biomarkers.clusters import clusters
from lungitude.biomarkers.parenchyma import parenchyma

CLUSTERS = ["n_clusters", "cluster_exponent", "cluster_exponent_ml", "cluster_r2"]


def density(ct, mask, scheme="mask"):
    """Return the table of `parenchyma` with the columns `CLUSTERS` of `clusters`.

    Parameters
    ----------
    ct, mask, scheme
        As `parenchyma`.

    Returns
    -------
    DataFrame
        Row ``all``, then a row a region.
    """
    found = clusters(ct, mask, scheme).set_index("region")[CLUSTERS]
    return parenchyma(ct, mask, scheme).join(found, on="region")
