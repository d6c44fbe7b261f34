"""Benchmarks of the built binaries beside the tools that people use today (docs/performance.md)."""
