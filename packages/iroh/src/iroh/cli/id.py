"""`iroh id`: make a key, show whose id it makes."""

import argparse

from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.identity import SECRET_VARIABLE, secret_key

__all__ = ["run"]


def run(options: argparse.Namespace, console: Console) -> int:
    """Show an id in the form that is asked for. Raises CliError."""
    if options.id is not None:
        public = options.id
    else:
        key = secret_key(options.secret_file, console)
        if key is None:
            raise exits.CliError(
                "no key to show",
                f"give --secret-file FILE (made if it is not there), or set {SECRET_VARIABLE}",
                exits.USAGE,
            )
        public = key.public()
    forms = {"hex": str(public), "z32": public.to_z32(), "short": public.fmt_short()}
    console.result("id", forms[options.format], id=forms["hex"], z32=forms["z32"])
    return exits.DONE
