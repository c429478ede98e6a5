"""``routoo demo``: a run that shows the router and its budget at work."""
