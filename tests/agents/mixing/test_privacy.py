"""Masks: noise of the stated law, and none where none is asked for."""

import numpy as np
from scipy import stats

from agents.mixing.privacy import mask, normal, shown


def test_noise_is_standard_normal_and_never_twice_the_same():
    drawn = normal(200_001)
    assert drawn.dtype == np.float32 and drawn.shape == (200_001,) and np.isfinite(drawn).all()
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    for lag in (1, 100_001):  # neighbors, and the two numbers that are made of one pair
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 5 / np.sqrt(len(drawn) - lag)
    assert abs(np.corrcoef(drawn, normal(200_001))[0, 1]) < 5 / np.sqrt(len(drawn))


def test_a_mask_has_its_scale_and_leaves_theta_alone():
    theta = np.ones(100_000, np.float32)
    seen = shown(theta, mask(theta.size, 0.03))
    assert abs(np.std(seen - theta) / 0.03 - 1) < 0.02 and (theta == 1).all()
    assert mask(5, 0.0) is None and shown(theta, None) is theta
