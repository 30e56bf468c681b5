"""The files in deploy/, tried with real programs: `nox -s deploy`."""
