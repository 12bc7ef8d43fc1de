"""How kernels become NEFFs, and where those are kept."""
