"""Tables, figures and pages of a report, each rendered from the results table alone."""
