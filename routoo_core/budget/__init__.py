"""Step 5 of the path: money is held before a call and settled after it."""
