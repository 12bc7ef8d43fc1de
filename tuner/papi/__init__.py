"""Decoding of language models on GPUs and memory that computes: costs, and when to use which.

After PAPI (arXiv 2502.15470); see docs/papi.md.
"""
