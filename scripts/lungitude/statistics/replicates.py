"""REML fits of one model to many leave-one-patient-out samples at once.

The likelihood of `lungitude.statistics.likelihood` needs of the patients only sums of cross
products over patterns of visits. Without one patient these are the sums less that patient's own,
so a fit a patient has the same few matrix products as one fit, with one more axis. Every
replicate has its own exact optimum (Newton's method with the observed information); nothing is
linearised.
"""

from dataclasses import dataclass, fields

import numpy as np

from lungitude.statistics.likelihood import LONGEST, SINGULAR

BLOCK = 3_000_000  # numbers in the largest array of a step
STEPS = 50
DECREMENT = 1e-12  # twice the log likelihood that is still to gain before the last step
NOBODY = -1


class Unstructured:
    """Covariances of `m` visits, ``Structure(m, "us")`` with an axis of replicates in front.

    ``S = D L L' D`` with D the exponentials of the first m parameters and L unit lower triangular
    (the others, row by row).
    """

    def __init__(self, m):
        self.m, self.rows, self.columns = m, *np.tril_indices(m, -1)
        self._each = np.eye(m)[:, :, None] + np.eye(m)[:, None, :]
        self._same = np.equal.outer(self.columns, self.columns)

    def _parts(self, theta):
        scale = np.exp(theta[:, : self.m])
        lower = np.broadcast_to(np.eye(self.m), (len(theta), self.m, self.m)).copy()
        lower[:, self.rows, self.columns] = theta[:, self.m :]
        return scale[:, :, None] * scale[:, None, :], lower

    def value(self, theta):
        """Covariances (r, m, m) of parameters (r, q)."""
        scale, lower = self._parts(theta)
        return scale * (lower @ lower.transpose(0, 2, 1))

    def slopes(self, theta):
        """Covariances (r, m, m) and their derivatives (r, q, m, m)."""
        scale, lower = self._parts(theta)
        value = scale * (lower @ lower.transpose(0, 2, 1))
        shape = np.zeros((len(theta), len(self.rows), self.m, self.m))
        shape[:, np.arange(len(self.rows)), self.rows] = lower[:, :, self.columns].transpose(
            0, 2, 1
        )
        shape = (shape + shape.transpose(0, 1, 3, 2)) * scale[:, None]
        return value, np.concatenate([self._each * value[:, None], shape], axis=1)

    def curvature(self, theta, slopes, weight):
        """Second derivatives times symmetric weights (r, m, m), summed: (r, q, q)."""
        m, (scale, _) = self.m, self._parts(theta)
        value = slopes[:, :m].sum(axis=1) / 2  # every S_ij is in the slopes of i and of j
        q = m + len(self.rows)
        found = np.empty((len(theta), q, q))
        weighted = value * weight
        found[:, :m, :m] = 2 * (weighted + np.eye(m) * weighted.sum(axis=2)[:, :, None])
        across = 2 * (slopes[:, m:] * weight[:, None]).sum(axis=3)
        found[:, m:, :m], found[:, :m, m:] = across, across.transpose(0, 2, 1)
        pairs = 2 * (scale * weight)[:, self.rows[:, None], self.rows[None, :]]
        found[:, m:, m:] = np.where(self._same, pairs, 0.0)
        return found


@dataclass
class States:
    """What `State` of the likelihood holds, with an axis of replicates in front."""

    loglik: np.ndarray
    beta: np.ndarray
    c: np.ndarray
    gradient: np.ndarray = None
    hessian: np.ndarray = None

    def put(self, index, other, chosen):
        """Overwrite replicates by the chosen ones of others."""
        for f in fields(self):
            getattr(self, f.name)[index] = getattr(other, f.name)[chosen]


class Replicates:
    """Restricted likelihood without one patient each.

    Parameters
    ----------
    likelihood : Likelihood
        Unstructured covariances, REML.
    """

    def __init__(self, likelihood):
        self.likelihood = likelihood
        self.structure = Unstructured(likelihood.m)
        self._upper = np.triu_indices(likelihood.m)
        self._half = np.where(self._upper[0] == self._upper[1], 1.0, 0.5)
        size = len(likelihood.pattern)
        self._place = np.empty(size, dtype=int)  # of a patient in the order of the likelihood
        self._place[likelihood.order] = np.arange(size)
        patterns = likelihood.pattern.max() + 1
        self._chunk, self._local = np.empty((2, patterns), dtype=int)
        for index, (_, chunk) in enumerate(likelihood.chunks):
            self._chunk[chunk.where] = index
            self._local[chunk.where] = np.arange(len(chunk.where))
        q, m, width = likelihood.offsets[-1], likelihood.m, len(likelihood._upper[0])
        self._block = max(1, BLOCK // max(patterns * q * m * m, q * width, m * m * width))

    def _own(self, places):
        """Cross products (r, pairs, width) of one patient each, laid out as those of a chunk."""
        rows = self.likelihood.rows[places]
        first, second = self.likelihood._upper
        j, k = self._upper
        found = rows[:, j][:, :, first] * rows[:, k][:, :, second]
        found += rows[:, k][:, :, first] * rows[:, j][:, :, second]
        return found * (1.5 - self._half)[:, None]  # x x' once on the diagonal

    def _members(self, places):
        """Replicates whose patient is of a chunk, with the place of the pattern in the chunk."""
        pattern = self.likelihood.pattern[places]
        for index in range(len(self.likelihood.chunks)):
            mine = np.flatnonzero((self._chunk[pattern] == index) & (places != NOBODY))
            yield mine, self._local[pattern[mine]]

    def at(self, theta, left, order=2):
        """Likelihood without the patients `left`, with derivatives if `order` is 2.

        Parameters
        ----------
        theta : ndarray (r, q)
        left : ndarray of int (r,)
            Codes of the patients; `NOBODY` for the whole sample.
        order : {0, 2}

        Returns
        -------
        States
            A log likelihood of minus infinity where there is none; constants are left out.
        """
        like, count = self.likelihood, len(theta)
        left = np.asarray(left)
        places = np.where(left == NOBODY, NOBODY, self._place[left])
        own = self._own(places) if (left != NOBODY).any() else None
        total, logdet = np.zeros((count, len(like._upper[0]))), np.zeros(count)
        parts = [theta[:, a:b] for a, b in zip(like.offsets[:-1], like.offsets[1:], strict=True)]
        found = [self.structure.slopes(part) for part in parts]
        kept = []
        for (g, chunk), (mine, local) in zip(like.chunks, self._members(places), strict=True):
            values = np.where(chunk.both, found[g][0][:, None], 0.0) + chunk.pad
            inverse = np.linalg.inv(values)
            inverse[:, ~chunk.both] = 0.0
            counts = np.repeat(chunk.counts[None], count, axis=0)
            counts[mine, local] -= 1
            logdet += (counts * np.linalg.slogdet(values)[1]).sum(axis=1)
            total += inverse[:, *chunk.index] @ chunk.products(like.keep)
            if len(mine):
                single = inverse[mine, local][:, *self._upper]
                total[mine] -= np.einsum("rp,rpw->rw", single, own[mine])
            kept.append((inverse, counts, mine, local))
        whole = like.unpack(total)
        information, cross = whole[:, :-1, :-1], whole[:, :-1, -1]
        sign, logs = np.linalg.slogdet(information)
        c = np.linalg.inv(information)
        beta = (c @ cross[:, :, None])[:, :, 0]
        value = -0.5 * (logdet + whole[:, -1, -1] - (cross * beta).sum(axis=1) + logs)
        value = np.where((sign > 0) & np.isfinite(value), value, -np.inf)
        states = States(value, beta, c)
        if order:
            self._derive(states, parts, found, kept, own)
        return states

    def _derive(self, states, parts, found, kept, own):
        """Gradient (r, q) and Hessian (r, q, q), as `Likelihood` has them for one sample."""
        like, count = self.likelihood, len(states.beta)
        q, m = like.offsets[-1], like.m
        residual = np.concatenate([-states.beta, np.ones((count, 1))], axis=1)
        outer = residual[:, :, None] * residual[:, None, :]
        outer[:, :-1, :-1] += states.c
        outer = outer[:, *like._upper] * like._twice
        gradient, hessian = np.zeros((count, q)), np.zeros((count, q, q))
        slopes = np.zeros((count, q, len(like._upper[0])))
        scores = [np.zeros((count, m, m)) for _ in found]
        for (g, chunk), (inverse, counts, mine, local) in zip(like.chunks, kept, strict=True):
            products = chunk.products(like.keep)
            where = slice(like.offsets[g], like.offsets[g + 1])
            spread = np.zeros(inverse.shape)
            p, i, j = chunk.index
            spread[:, p, i, j] = (outer @ products.T) * chunk.half
            if len(mine):
                single = np.einsum("rpw,rw->rp", own[mine], outer[mine]) * self._half
                # Products of missing visits are 0.
                spread[mine[:, None], local[:, None], *self._upper] -= single
            spread[:, p, j, i] = spread[:, p, i, j]
            bent = inverse @ spread @ inverse
            score = counts[:, :, None, None] * inverse - bent
            scores[g] += score.sum(axis=1)
            derivative = found[g][1][:, None]
            ahead = inverse[:, :, None] @ derivative  # V^-1 V_a
            both = (ahead @ inverse[:, :, None]).transpose(0, 2, 1, 3, 4)
            slopes[:, where] += both[:, :, *chunk.index] @ products
            if len(mine):
                single = both.transpose(0, 2, 1, 3, 4)[mine, local][:, :, *self._upper]
                slopes[mine, where] -= single @ own[mine]
            behind = derivative @ (bent - score)[:, :, None]  # V_b (2 V^-1 C V^-1 - n V^-1)
            size = behind.shape[2]
            ahead = ahead.transpose(0, 2, 1, 3, 4).reshape(count, size, -1)
            behind = behind.transpose(0, 2, 1, 3, 4).reshape(count, size, -1)
            hessian[:, where, where] += ahead @ behind.transpose(0, 2, 1)
        for g, (_, derivative) in enumerate(found):
            where = slice(like.offsets[g], like.offsets[g + 1])
            gradient[:, where] = -0.5 * np.einsum("raij,rij->ra", derivative, scores[g])
            hessian[:, where, where] += self.structure.curvature(parts[g], derivative, scores[g])
        slopes = like.unpack(slopes)
        inner = slopes[:, :, :-1, :-1]
        along = slopes[:, :, :-1, -1] - (inner @ states.beta[:, None, :, None])[..., 0]
        hessian -= 2 * along @ states.c @ along.transpose(0, 2, 1)
        turned = (inner @ states.c[:, None]).reshape(count, q, -1)
        mirrored = (states.c[:, None] @ inner).reshape(count, q, -1)
        hessian -= turned @ mirrored.transpose(0, 2, 1)
        states.gradient = gradient
        states.hessian = -0.25 * (hessian + hessian.transpose(0, 2, 1))

    def fit(self, theta, left):
        """Optimum without each of the patients `left`, from the parameters (q,) of the whole.

        Returns
        -------
        ndarray (r, q), ndarray (r, k), ndarray of bool (r,)
            Parameters, fixed effects, and whether the optimum was found.
        """
        left = np.asarray(left)
        found = [
            self._newton(theta, left[start : start + self._block])
            for start in range(0, len(left), self._block)
        ]
        return tuple(np.concatenate(part) for part in zip(*found, strict=True))

    def fixed(self, theta):
        """Give the fixed effects (r, k) and their covariances (r, k, k) given parameters (r, q)."""
        blocks = [
            self.at(part, np.full(len(part), NOBODY), order=0)
            for part in np.array_split(theta, -(-len(theta) // self._block))
        ]
        return np.concatenate([b.beta for b in blocks]), np.concatenate([b.c for b in blocks])

    def _newton(self, theta, left):
        theta = np.repeat(theta[None], len(left), axis=0)
        with np.errstate(all="ignore"):
            states = self.at(theta, left)
            open_, good = np.isfinite(states.loglik), np.zeros(len(left), dtype=bool)
            for _ in range(STEPS):
                here = np.flatnonzero(open_)
                if not len(here):
                    break
                gradient, hessian = states.gradient[here], states.hessian[here]
                values, vectors = np.linalg.eigh(-hessian)
                largest = np.abs(values).max(axis=1, keepdims=True)
                firm = np.maximum(np.abs(values), 1e-7 * largest)
                along = (vectors.transpose(0, 2, 1) @ gradient[:, :, None])[:, :, 0]
                step = (vectors @ (along / firm)[:, :, None])[:, :, 0]
                step *= np.minimum(1, LONGEST / np.abs(step).max(axis=1, keepdims=True))
                # So near the optimum one more step is exact: its error is the square.
                last = (along**2 / firm).sum(axis=1) < DECREMENT
                good[here[last]] = values[last, 0] > 1e-9 * largest[last, 0]
                theta[here[last]] += step[last]
                open_[here[last]] = False
                moved = self._climb(theta, states, left, here[~last], step[~last])
                open_[here[~last][~moved]] = False
            beta = self.at(theta, left, order=0).beta
        return theta, beta, good & self._regular(theta)

    def _climb(self, theta, states, left, here, step):
        """Take the steps, each halved until the likelihood does not fall; which were taken."""
        taken = np.zeros(len(here), dtype=bool)
        for _ in range(30):
            rest = np.flatnonzero(~taken)
            if not len(rest):
                break
            where = here[rest]
            trial = self.at(theta[where] + step[rest], left[where])
            # At the optimum rounding hides the gain: a tie is taken as it is.
            least = states.loglik[where] - 1e-9 * np.maximum(1, np.abs(states.loglik[where]))
            better = trial.loglik > least
            theta[where[better]] += step[rest[better]]
            states.put(where[better], trial, better)
            taken[rest[better]] = True
            step[rest[~better]] /= 2
        return taken

    def _regular(self, theta):
        """Whether no correlation of visits has run to 1."""
        like, fine = self.likelihood, np.ones(len(theta), dtype=bool)
        for a, b in zip(like.offsets[:-1], like.offsets[1:], strict=True):
            value = self.structure.value(theta[:, a:b])
            deviation = np.sqrt(np.diagonal(value, axis1=1, axis2=2))
            with np.errstate(all="ignore"):
                shape = value / (deviation[:, :, None] * deviation[:, None, :])
            known = np.isfinite(shape).all(axis=(1, 2)) & (deviation > 1e-8).all(axis=1)
            shape[~known] = np.eye(self.structure.m)
            fine &= known & (np.linalg.eigvalsh(shape)[:, 0] > SINGULAR)
        return fine

    def aliased(self, left):
        """Whether the design without each of the patients `left` has lost a column's information.

        The orthonormal rows of a patient whose largest singular value is 1 hold a direction that
        no other patient has.
        """
        rows = self.likelihood.rows[self._place[left]][:, :, :-1]
        largest = np.linalg.eigvalsh(rows @ rows.transpose(0, 2, 1))[:, -1]
        return largest > 1 - 1e-9
