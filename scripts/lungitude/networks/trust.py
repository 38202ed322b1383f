"""Whether to trust a network on a scan: what it says of itself, how unlike its training it is."""

import dataclasses

import numpy as np
import torch

COLUMNS = ("STRUCTURE", "volume_ml", "confidence", "distance", "flag")
# Expected Dice below which a map is flagged, some 0.1 below what good maps of phantoms have; thin
# structures have more border, where nobody is sure.
LEAST_CONFIDENCE = {
    "lobes": 0.80,
    "airways": 0.70,
    "vessels": 0.60,
    "heart": 0.85,
    "coronary": 0.60,
}
QUANTILE = 0.99


@dataclasses.dataclass
class Familiar:
    """What scans of the training look like, by the network's own features.

    mean : ndarray, (features,); precision : ndarray, (features, features), inverse covariance;
    reach : float, distance that `QUANTILE` of held-out draws keep.
    """

    mean: np.ndarray
    precision: np.ndarray
    reach: float

    @classmethod
    def learn(cls, seen, unseen):
        """Learn from features (n, features) of draws; the reach from others, held out."""
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(seen)
        found = cls(fitted.location_, fitted.precision_, 1.0)
        far = [found.distance(row) for row in unseen]
        return cls(found.mean, found.precision, float(np.quantile(far, QUANTILE)))

    @classmethod
    def of(cls, tensors):
        """Return what `tensors` gave; None from nothing."""
        if not tensors:
            return None
        mean, precision = (tensors[key].double().numpy() for key in ("mean", "precision"))
        return cls(mean, precision, float(tensors["reach"]))

    def tensors(self):
        """Return the numbers as tensors by name."""
        found = {"mean": self.mean, "precision": self.precision, "reach": np.array(self.reach)}
        return {key: torch.tensor(value, dtype=torch.float32) for key, value in found.items()}

    def distance(self, features):
        """Mahalanobis distance of features over the reach: above 1 is unlike the training."""
        away = np.asarray(features, dtype=float) - self.mean
        return float(np.sqrt(max(0.0, away @ self.precision @ away)) / self.reach)


def rows(found, volumes_ml):
    """Say what to trust of one scan, a row a structure.

    Parameters
    ----------
    found : inference.Maps
    volumes_ml : dict of float
        Of all that was found of each structure.

    Returns
    -------
    list of dict
        `COLUMNS`; flag is empty, or says in words why not to trust the structure.
    """
    table = []
    for part, volume in volumes_ml.items():
        sure = found.confidence.get("lungs" if part == "lobes" else part, float("nan"))
        told = []
        if not volume:
            told.append(f"no {part} found")
        elif sure < LEAST_CONFIDENCE[part]:
            told.append(f"the network expects a Dice of {sure:.2f} of its own {part}")
        if found.distance > 1.0:
            told.append("the scan is unlike those that the network was trained on")
        row = (part, volume, sure, found.distance, "; ".join(told))
        table.append(dict(zip(COLUMNS, row, strict=True)))
    return table
