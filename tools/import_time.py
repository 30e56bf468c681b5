"""Says what importing iroh costs: information for whoever reads the log, never a failure.

CPU time, the least of several tries, as others may load the machine; with the byte code that Python
keeps beside installed packages, also where the environment forbids to write it.
"""

import os
import subprocess
import sys
import tempfile
import time

TRIES = 5


def cpu(code: str, env: dict[str, str]) -> float:
    """Give the milliseconds that a statement takes in a fresh interpreter, its start taken off."""
    program = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    command = [sys.executable, "-c", program]
    tries = (subprocess.run(command, check=True, capture_output=True, env=env) for _ in [0] * TRIES)
    return 1000 * min(float(done.stdout) for done in tries)


def wall(*arguments: str, env: dict[str, str]) -> float:
    """Give the milliseconds that pass while Python runs with these arguments."""
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=env)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        name, names = cpu("import iroh", env), cpu("from iroh import Endpoint", env)
        print(f"import iroh: {name:.0f} ms of CPU, with public names {names:.0f} ms", flush=True)
        program = wall("-m", "iroh", "--help", env=env)
        print(f"iroh --help, with the interpreter: {program:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
