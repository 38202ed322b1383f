"""Linear algebra that the models share."""

import numpy as np

from lungitude.statistics.linear import estimable, independent


def test_independent_and_estimable():
    matrix = np.array([[1.0, 1, 0, 2], [1, 0, 1, 2], [1, 1, 0, 2], [1, 0, 1, 2]])
    assert independent(matrix) == [0, 1]
    assert list(estimable([[0, 1, -1, 0], [0, 1, 0, 0], [1, 1, 0, 2]], matrix)) == [
        True,
        False,
        True,
    ]
