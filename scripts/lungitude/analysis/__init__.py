"""Analyses of a trial: ADaM tables and a plan in, rows of the results table out."""
