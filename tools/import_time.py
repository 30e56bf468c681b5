"""Says how long `import iroh` takes: information for whoever reads the log, never a failure."""

import subprocess
import sys
import time

TRIES = 3


def best(code: str) -> float:
    """Give the best wall time, in milliseconds, of a fresh interpreter running `code`."""
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print the figure, interpreter start-up taken off."""
    bare = best("pass")
    print(f"import iroh: {best('import iroh') - bare:.0f} ms (best of {TRIES})", flush=True)


if __name__ == "__main__":
    main()
