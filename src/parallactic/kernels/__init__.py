"""Numerical kernels: arrays in, arrays out; no files, no executor."""
