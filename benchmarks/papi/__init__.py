"""PAPI's published results beside what the decode model gives."""
