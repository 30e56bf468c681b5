"""A lab of real NATs in network namespaces, and endpoints in it. See README.md beside this file."""
