-- Forgets a response.
forget(ARGV[1])
