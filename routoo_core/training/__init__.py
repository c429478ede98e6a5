"""Learning a predictor from outcomes."""
