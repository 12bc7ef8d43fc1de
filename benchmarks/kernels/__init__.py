"""The low-rank chain, tuned, against what it replaces: AWS's matmul as X W, the same twice as
X U V, naive fusion, the structure of NeuronMM without tuning.

python -m benchmarks.kernels [--json | --markdown] [--device trn1 trn2] [--rows 1024,4096]
    [--trials N] [--search] [--paper]
"""
