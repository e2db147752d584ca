"""The report of a compression job, for machines and for people."""
