"""The sessions: one door for people and for CI.

    python3 tools/run.py SESSION -- ARGUMENTS     on a machine with nothing but Python
    nox -s SESSION -- ARGUMENTS                   where nox is installed

Each session installs what it needs into an environment of its own under `.nox`. The four packages
are installed editable and together, with IROH_SIBLINGS=index (see hatch_build.py for why); where
nothing changed since the last run, the installation is skipped.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types"]
nox.needs_version = ">=2026.4"

ROOT = Path(__file__).parent.resolve()
PACKAGES = ("iroh-base", "iroh-relay", "iroh-dns-server", "iroh")
"""In the order of the floors: a package needs only those before it."""
SCRIPTS = {"iroh-relay": "iroh-relay", "iroh-dns-server": "iroh-dns-server", "iroh": "iroh"}
"""Distribution -> its console script."""
SOURCES = [f"packages/{name}/src" for name in PACKAGES]
TOGETHER = {"IROH_SIBLINGS": "index"}

RUST_PEER = "iroh==1.2.0"
"""n0's bindings (Rust iroh 1.4.1). Same import name as ours, hence never in one environment."""
RUST_RELAY = "iroh-relay@1.4.1"
RUST_DNS = "iroh-dns-server@1.4.1"
"""The crates with the Rust servers; tools/rust_peer names the crates that it is built of."""
RUST_DUMBPIPE = "dumbpipe@0.40.1"
TEST = (
    "acme>=5",
    "aiohttp-socks>=0.10",
    "asyncpg>=0.30",
    "hypothesis>=6.150",
    "pytest>=9.0",
    "pytest-asyncio>=1.3",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "trustme>=1.2",
)
LINT = ("codespell>=2.4", "import-linter==2.16", "packaging>=25", "ruff==0.17.6")
DOCS = ("mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=0.30", "ruff==0.17.6")
TRIO = ("trio>=0.30", "trio-asyncio>=0.15")
VERIFY = ("pyright[nodejs]==1.1.414",)
"""With a Node of its own where there is none."""
TYPES = (*TEST, *TRIO, "mypy==2.4.1", "nox>=2026.4")
ACME_SERVER = ("pebble", "pebble-challtestsrv")
ACME_SERVER_VERSION = "v2.10.3"
BENCH = ("aioquic>=1.7.2",)
"""Measured beside ours, whether or not the packages need it."""


# -- installing --------------------------------------------------------------------------------


def fingerprint(*requirements: str) -> str:
    """Digest what decides the outcome of an installation of the workspace."""
    digest = hashlib.sha256(repr((requirements, sys.version_info, ROOT)).encode())
    for name in PACKAGES:
        folder = ROOT / "packages" / name
        package = folder / "src" / name.replace("-", "_") / "__init__.py"
        for path in (folder / "pyproject.toml", folder / "hatch_build.py", package):
            digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()


def install_once(session: nox.Session, what: str, *arguments: str) -> None:
    """Install unless the environment says that exactly this was installed before."""
    stamp = Path(session.virtualenv.location) / ".iroh-installed"
    if stamp.is_file() and stamp.read_text() == what:
        session.log("nothing changed since the last installation")
        return
    stamp.unlink(missing_ok=True)
    session.install(*arguments, env=TOGETHER)
    stamp.write_text(what)


def install_workspace(session: nox.Session, *requirements: str) -> None:
    """Install the four packages editable, and the session's own requirements."""
    session.env["IROH_PORTMAPPER"] = "0"  # nothing of ours talks to this machine's router
    editable = [part for name in PACKAGES for part in ("-e", f"packages/{name}")]
    install_once(session, fingerprint(*requirements), *editable, *requirements)


def install_tools(session: nox.Session, *requirements: str) -> None:
    """Install what a session needs that does not need our packages."""
    install_once(session, repr(requirements), *requirements)


def rust_python(session: nox.Session) -> Path:
    """Give the interpreter of the environment that holds the real Rust peer and nothing of ours."""
    home = Path(session.virtualenv.location).with_name("rust-peer")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = home / ".iroh-installed"
    wanted = f"{RUST_PEER} {sys.version_info}"
    if not (python.is_file() and stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(home, ignore_errors=True)
        session.run(sys.executable, "-m", "venv", str(home), external=True, silent=True)
        session.run(str(python), "-m", "pip", "install", "-q", RUST_PEER, external=True)
        stamp.write_text(wanted)
    return python


def run_all(session: nox.Session, *commands: tuple[str, ...]) -> None:
    """Run every command, also after one failed, and fail at the end if any did."""
    failed = []
    for command in commands:
        try:
            session.run(*command)
        except CommandFailed:
            failed.append(command[0])
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def scratch(session: nox.Session) -> Path:
    """Give an empty folder of this session."""
    folder = Path(session.create_tmp()).resolve() / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# -- what a contributor runs -------------------------------------------------------------------


@nox.session
def tests(session: nox.Session) -> None:
    """Every test that needs no Rust, no root and no internet: nox -s tests -- -k ticket.

    Without arguments `verifytypes` comes after it, for which CI may not lack pyright.
    """
    # blake3: the relay's own hash is compared with it. Elsewhere its absence is tested.
    install_workspace(session, *TEST, "blake3>=1.0")
    session.run("python", "tools/import_time.py")
    session.run("pytest", "-n", "2", *(session.posargs or ["packages", "tools"]))
    if not session.posargs:
        session.notify("verifytypes", [] if os.environ.get("CI") else ["--if-possible"])


@nox.session
def lint(session: nox.Session) -> None:
    """Style, floors, budgets, versions, spelling. Nothing of ours is imported."""
    install_tools(session, *LINT)
    session.env["PYTHONPATH"] = os.pathsep.join(SOURCES)  # import-linter reads, never imports
    run_all(
        session,
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("lint-imports",),
        ("python", "tools/budget.py"),
        ("python", "tools/versions.py"),
        ("python", "tools/fronts.py", "--check"),
        ("codespell",),
    )


@nox.session
def trio(session: nox.Session) -> None:
    """Test iroh.trio, in processes of its own: trio-asyncio changes what asyncio is in one."""
    install_workspace(session, *TEST, *TRIO)
    folder = "packages/iroh/tests/trio"
    session.run("pytest", "-c", f"{folder}/pytest.ini", folder, *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests with the oldest dependencies that the packages admit (needs uv)."""
    session.env["IROH_PORTMAPPER"] = "0"
    extras = ("iroh-base", "iroh-relay[acme,socks]", "iroh-dns-server[acme,postgres]", "iroh")
    editable = [part for name in extras for part in ("-e", f"packages/{name}")]
    session.install("--resolution", "lowest-direct", *editable, env=TOGETHER)
    session.install(*TEST)  # what is there stays
    session.run("pytest", "-n", "2", *(session.posargs or ["packages"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning, like a link to nowhere, is an error."""
    install_tools(session, *DOCS)
    site = scratch(session) / "site"
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", "build", "--strict", "--site-dir", str(site))
    session.log(f"{sum(1 for _ in site.rglob('*.html'))} pages in {site}")


@nox.session
def fronts(session: nox.Session) -> None:
    """Write the classes of iroh.sync and iroh.trio anew, after those of iroh changed."""
    install_tools(session, *(tool for tool in LINT if tool.startswith("ruff")))
    session.run("python", "tools/fronts.py", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check the four packages, the tools and this file with mypy --strict."""
    install_workspace(session, *TYPES)
    run_all(
        session,
        ("mypy", "--strict", *SOURCES),
        ("mypy", "--strict", "noxfile.py", "conftest.py", "tools", "examples"),
    )


@nox.session
def verifytypes(session: nox.Session) -> None:
    """How much of the public types pyright knows, in percent, and the least that it may be."""
    try:
        install_workspace(session, *TEST, *TRIO, *VERIFY)
        session.run("pyright", "--version", silent=True)
    except CommandFailed:
        if "--if-possible" not in session.posargs:
            raise
        session.skip("no pyright for this machine, or no internet; the tests themselves passed")
    session.run("python", "tools/verifytypes.py")


@nox.session
def demo(session: nox.Session) -> None:
    """Show what it does: two endpoints of this machine find and dial each other by key."""
    install_workspace(session)
    session.run("python", "tools/demo.py", *session.posargs)


# -- against the real peer ---------------------------------------------------------------------


@nox.session
def interop(session: nox.Session) -> None:
    """Every feature against real Rust endpoints; `-- --write` renews COMPATIBILITY.md.

    With `--rust-relay` also each relay with each client, with `--rust-dns` each DNS server, with
    `--rust-lookup` also mDNS and the DHT, with `--dumbpipe` also n0's dumbpipe; each builds Rust
    programs the first time.
    """
    rust = rust_python(session)
    install_workspace(session, *TEST)
    env = {"IROH_RUST_PYTHON": str(rust)}
    if {"--rust-relay", "--rust-dns"} & set(session.posargs):
        env |= rust_programs(session)
    if "--rust-lookup" in session.posargs:
        env |= rust_lookup(session)
    if "--libtorrent" in session.posargs:
        env |= torrent_python(session)
    if "--dumbpipe" in session.posargs:
        env |= rust_dumbpipe(session)
    session.run("pytest", "tools/interop", *session.posargs, env=env)


def rust_programs(session: nox.Session) -> dict[str, str]:
    """Build the Rust relay and tools/rust_peer outside of the repository: about 10 minutes, once.

    Programs that the environment names are taken instead. Where there is no cargo, the tests that
    need them say so.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "iroh-python-interop")
    release = home / "target" / "release"
    built = {
        "IROH_RUST_RELAY": home / "bin/iroh-relay",
        "IROH_RUST_PEER": release / "iroh-rust-peer",
        "IROH_RUST_DNS": home / "bin/iroh-dns-server",
    }
    relay = ("install", "--locked", "--root", str(home), "--features", "server", RUST_RELAY)
    peer = ("build", "--release", "--manifest-path", "tools/rust_peer/Cargo.toml")
    dns = ("install", "--locked", "--root", str(home), RUST_DNS)
    env, given = {"CARGO_TARGET_DIR": str(home / "target")}, {}
    for (name, path), arguments in zip(built.items(), (relay, peer, dns), strict=True):
        if name not in os.environ and shutil.which("cargo"):
            session.run("cargo", *arguments, env=env, external=True)
        found = os.environ.get(name) or str(path)
        if Path(found).is_file():
            given[name] = found
    return given


def torrent_python(session: nox.Session) -> dict[str, str]:
    """Give an environment with libtorrent, the DHT most used; none where it has no wheel."""
    home = Path(session.virtualenv.location).with_name("libtorrent")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        session.run(sys.executable, "-m", "venv", str(home), external=True, silent=True)
    install = (str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", "libtorrent>=2")
    session.run(*install, external=True, success_codes=[0, 1])
    probe = session.run(str(python), "-c", "import libtorrent", external=True, success_codes=[0, 1])
    return {"IROH_TORRENT_PYTHON": str(python)} if probe else {}


def rust_lookup(session: nox.Session) -> dict[str, str]:
    """Build tools/rust_lookup outside of the repository, about 3 minutes, or take the named one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "iroh-python-interop")
    program = home / "lookup" / "release" / "iroh-rust-lookup"
    if "IROH_RUST_LOOKUP" in os.environ:
        program = Path(os.environ["IROH_RUST_LOOKUP"])
    elif shutil.which("cargo"):
        build = ("build", "--release", "--manifest-path", "tools/rust_lookup/Cargo.toml")
        env = {"CARGO_TARGET_DIR": str(home / "lookup")}
        session.run("cargo", *build, env=env, external=True)
    return {"IROH_RUST_LOOKUP": str(program)} if program.is_file() else {}


def rust_dumbpipe(session: nox.Session) -> dict[str, str]:
    """Build n0's dumbpipe outside of the repository, about 6 minutes, or take the named one."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "iroh-python-interop")
    program = Path(os.environ.get("IROH_DUMBPIPE") or home / "bin" / "dumbpipe")
    if "IROH_DUMBPIPE" not in os.environ and shutil.which("cargo"):
        install = ("install", "--locked", "--root", str(home), RUST_DUMBPIPE)
        env = {"CARGO_TARGET_DIR": str(home / "target")}
        session.run("cargo", *install, env=env, external=True)
    return {"IROH_DUMBPIPE": str(program)} if program.is_file() else {}


@nox.session
def natlab(session: nox.Session) -> None:
    """Behind real NATs, beside Rust (Linux, root): nox -s natlab -- --full --write.

    Without arguments, or with `pytest` and its own, also what needs no pair of endpoints.
    """
    rust = rust_python(session)
    install_workspace(session, *TEST)
    env = {"IROH_RUST_PYTHON": str(rust), "PYTHONPATH": str(ROOT / "tools")}
    alone = session.posargs[:1] == ["pytest"]
    if not alone:
        session.run("python", "-P", "-m", "natlab", *session.posargs, env=env)
    if alone or not session.posargs:
        session.run("pytest", "tools/natlab", *session.posargs[1:], env=env)


@nox.session
def deploy(session: nox.Session) -> None:
    """The files in deploy/ with the programs they are for: nginx, Caddy, systemd; a real ACME;
    DNS over HTTPS asked by curl and dig; DNS servers that share a PostgreSQL."""
    debian = {"nginx": "nginx-light", "caddy": "caddy", "curl": "curl", "dig": "bind9-dnsutils"}
    debian["psql"] = "postgresql"
    apt_get(session, debian)
    tools = go_install(session, "github.com/letsencrypt/pebble/v2/cmd/", *ACME_SERVER)
    install_workspace(session, *TEST)
    path = f"{session.bin}{os.pathsep}{tools}{os.pathsep}{os.environ.get('PATH', '')}"
    session.run("pytest", "tools/deploy", *session.posargs, env={"PATH": path})


def go_install(session: nox.Session, source: str, *programs: str) -> Path:
    """Build programs of Go where there is Go; elsewhere the tests that need them say so."""
    home = Path(session.virtualenv.location).with_name("go")
    missing = [name for name in programs if not (home / "bin" / name).is_file()]
    if missing and shutil.which("go"):
        env = {"GOPATH": str(home), "GOFLAGS": "-modcacherw"}
        wanted = [f"{source}{name}@{ACME_SERVER_VERSION}" for name in missing]
        session.run("go", "install", *wanted, external=True, env=env)
    return home / "bin"


def apt_get(session: nox.Session, wanted: dict[str, str]) -> None:
    """Install Debian's packages for the programs that are missing, as root and where there is apt.

    Elsewhere the tests that need them say so.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [package for name, package in wanted.items() if not shutil.which(name, path=path)]
    if not missing or not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("apt-get"):
        return
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: start no service
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    session.run("apt-get", "update", "-qq", external=True, silent=True)
    session.run(*command, external=True, silent=True, env=env)


@nox.session
def rust_relay(session: nox.Session) -> None:
    """Net reports, ours and Rust's on each other's relays: see tools/rust_peer/README.md."""
    install_workspace(session)
    session.run("python", "tools/rust_peer/check.py", *session.posargs)


@nox.session
def rust_custom(session: nox.Session) -> None:
    """Custom transports, ours and a Rust endpoint's: see tools/rust_peer/README.md."""
    install_workspace(session)
    session.run("python", "tools/rust_peer/custom_check.py", *session.posargs)


# -- against hostile peers ---------------------------------------------------------------------


@nox.session
def reliability(session: nox.Session) -> None:
    """Ours and the Rust endpoint under attack, bad links, a million mutated inputs.

    nox -s reliability -- --count 10000000 --write
    """
    rust = rust_python(session)
    install_workspace(session, *TEST, *BENCH)
    env = {"IROH_RUST_PYTHON": str(rust), "PYTHONPATH": str(ROOT / "tools")}
    session.run("python", "-P", "-m", "reliability", *session.posargs, env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure ours beside the Rust bindings, aioquic and the limit: nox -s bench -- --quick."""
    if session.posargs[:1] == ["dns"]:
        apt_get(session, {"dnsperf": "dnsperf"})
    rust = rust_python(session)
    install_workspace(session, *BENCH)
    env = {"IROH_RUST_PYTHON": str(rust), "PYTHONPATH": str(ROOT / "tools")}
    session.run("python", "-P", "-m", "bench", *session.posargs, env=env)


# -- what a user installs ----------------------------------------------------------------------


@nox.session(venv_backend="none")
def standalone(session: nox.Session) -> None:
    """Check that `pip install ./packages/<any one>` works alone in a fresh environment."""
    for name in session.posargs or PACKAGES:
        home = scratch(session)
        python = fresh_environment(session, home)
        session.run(python, "-m", "pip", "install", "-q", f"./packages/{name}", external=True)
        check_installed(session, Path(python), name)


@nox.session
def build(session: nox.Session) -> None:
    """Build wheels and sdists as for a release, and try both in fresh environments."""
    install_tools(session, "build>=1.3", "hatchling>=1.27")
    dist = scratch(session)
    for name in PACKAGES:
        command = ["python", "-m", "build", "--no-isolation", "--outdir", str(dist)]
        session.run(*command, f"packages/{name}", env=TOGETHER, silent=True)
    session.run("python", "tools/check_dist.py", str(dist))
    for kind in ("*.whl", "*.tar.gz"):
        for name in PACKAGES:
            archive = next(dist.glob(f"{name.replace('-', '_')}-{kind}"))
            with tempfile.TemporaryDirectory() as home:
                python = fresh_environment(session, Path(home))
                # Named by file, because an index would give n0's bindings for the name `iroh`.
                command = [python, "-m", "pip", "install", "-q", "--find-links", str(dist)]
                session.run(*command, str(archive), external=True)
                check_installed(session, Path(python), name)


def fresh_environment(session: nox.Session, home: Path) -> str:
    """Make a virtual environment with pip and nothing else; give its interpreter."""
    session.run(sys.executable, "-m", "venv", str(home / "venv"), external=True, silent=True)
    return str(home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def check_installed(session: nox.Session, python: Path, name: str) -> None:
    """Import every module of the package away from the checkout; ask its script for help."""
    program = str(ROOT / "tools" / "import_all.py")
    with session.chdir(python.parent):
        session.run(str(python), "-I", "-W", "error", program, name, external=True)
        session.run(str(python), "-m", "pip", "check", external=True, silent=True)
        if name in SCRIPTS:
            session.run(str(python.with_name(SCRIPTS[name])), "--help", external=True, silent=True)
