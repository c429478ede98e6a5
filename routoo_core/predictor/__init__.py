"""Step 3 of the path: how well would each expert answer, without running any."""
