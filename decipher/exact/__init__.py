"""Exact posteriors over keys, where the alphabet or the model is small enough."""
