"""What the compiler does to a program before it runs: changes it and gives it memory."""
