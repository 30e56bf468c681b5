"""Whole magic sockets behind pretended NATs, with a pretended relay, in virtual time."""
