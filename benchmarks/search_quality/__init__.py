"""Search methods compared on recorded search spaces; docs/search.md explains the figures.

python -m benchmarks.search_quality --spaces DIR [--methods a,b,c] [--seeds 20] [--json]
"""
