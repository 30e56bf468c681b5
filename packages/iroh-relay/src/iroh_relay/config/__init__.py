"""The configuration of the program `iroh-relay`: a TOML file with the keys of the Rust relay."""

from .file import check_config, load_config, parse_config
from .model import AccessChoice, AccessMode, CertMode, FileConfig, TlsChoice
from .problems import ConfigError, Problem
from .read import addr_of

__all__ = [
    "AccessChoice",
    "AccessMode",
    "CertMode",
    "ConfigError",
    "FileConfig",
    "Problem",
    "TlsChoice",
    "addr_of",
    "check_config",
    "load_config",
    "parse_config",
]
