"""Recording: what a kernel does while it runs, its loops once for many passes."""
