"""Python that a model wrote, run where it can do no harm: for its tests, and for the results of expressions."""
