"""One call to the experts, from the ranking to the settled reply."""
