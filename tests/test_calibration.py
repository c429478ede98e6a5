"""Calibration makes 0.7 mean seven in ten, and changes little where little was observed."""

import numpy as np

from routoo_core.measures.metrics import expected_calibration_error
from routoo_core.predictor.calibration import calibrated, log_odds
from routoo_core.training.calibration import fit_calibration


def boastful(count, seed=0):
    """True chances, the overconfident predictions of two experts, and what was observed."""
    random = np.random.default_rng(seed)
    true = random.uniform(0.1, 0.9, (count, 2))
    predicted = 1 / (1 + np.exp(-(2.5 * log_odds(true) + [0.5, -0.5])))
    return predicted.astype(np.float32), (random.random(true.shape) < true).astype(np.float32)


def error(quality, scores):
    return max(expected_calibration_error(quality[:, m], scores[:, m]) for m in range(2))


def test_overconfident_predictions_are_set_right_on_prompts_not_fitted_on():
    fitted = fit_calibration(*boastful(5000))
    predicted, scores = boastful(5000, seed=1)
    assert error(predicted, scores) > 0.08
    assert error(calibrated(predicted, fitted), scores) < 0.03


def test_the_order_of_prompts_is_kept():
    predicted, scores = boastful(500)
    after = calibrated(predicted, fit_calibration(predicted, scores))
    for m in range(2):
        assert (
            np.argsort(after[:, m], kind="stable") == np.argsort(predicted[:, m], kind="stable")
        ).mean() > 0.99


def test_pairs_nobody_observed_have_no_say():
    predicted, scores = boastful(2000)
    scores[1000:, 0] = np.nan
    half = fit_calibration(predicted[:1000], scores[:1000])
    np.testing.assert_allclose(fit_calibration(predicted, scores)[0], half[0], atol=1e-5)


def test_without_observations_nothing_changes():
    predicted, scores = boastful(50)
    fitted = fit_calibration(predicted, np.full_like(scores, np.nan))
    np.testing.assert_allclose(fitted, [[1, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(
        calibrated(predicted, fitted), np.clip(predicted, 1e-4, 1 - 1e-4), atol=1e-5
    )
