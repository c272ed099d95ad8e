"""What is run by hand: benchmarks and maintenance."""
