"""Configures the nodes: one folder of shell scripts, templates and package lists for each group."""
