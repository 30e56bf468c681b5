"""Says how long importing iroh takes: information for whoever reads the log, never a failure."""

import subprocess
import sys
import time

TRIES = 3


def best(code: str) -> float:
    """Give the best wall time, in milliseconds, of a fresh interpreter running `code`."""
    return best_of("-c", code)


def best_of(*arguments: str) -> float:
    """Give the best wall time, in milliseconds, of Python with these arguments."""
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the figure, interpreter start-up taken off."""
    bare = best("pass")
    name, all_of_it = best("import iroh") - bare, best("from iroh import Endpoint") - bare
    print(f"import iroh: {name:.0f} ms, with its public names {all_of_it:.0f} ms", flush=True)
    program = best_of("-m", "iroh", "--help")
    print(f"iroh --help, with the interpreter: {program:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
