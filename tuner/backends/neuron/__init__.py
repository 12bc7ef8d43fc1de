"""The neuron backend: AWS's compiler and runtime, each in an interpreter of its own."""
