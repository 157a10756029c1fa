"""Facts, digits, and the formats of benchmarks."""
