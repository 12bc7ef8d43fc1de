"""This machine: its cores, its environment, and the folders of the user."""
