"""Posteriors by sampling: annealed SMC, parallel tempering, and the spaces of keys they move in."""
