"""What the benchmarks share: the unit of processor time, and the cost of a command.

Machines differ, so times are also given in u: the processor time of one float32
``scipy.fft.rfftn`` of 256^3 voxels on one thread, measured in the same run.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

# One thread everywhere: what is measured is processor time, and tiles are computed so anyway.
THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took, with all the processes it started.

    Attributes
    ----------
    user_seconds, system_seconds
        Processor time.
    wall_seconds
        Elapsed time: means little on a machine that does other things.
    peak_bytes
        Largest resident memory of the command's own process.
    worker_peak_bytes
        Largest resident memory of each process it started, largest first.
    stdout
        What it printed.
    """

    user_seconds: float
    system_seconds: float
    wall_seconds: float
    peak_bytes: int
    worker_peak_bytes: tuple[int, ...] = ()
    stdout: str = field(default="", repr=False)

    @property
    def cpu_seconds(self) -> float:
        """Return user and system time together."""
        return self.user_seconds + self.system_seconds


def unit_seconds(rounds: int = 5) -> float:
    """Measure u, the least of some rounds."""
    import scipy.fft

    values = np.random.default_rng(0).standard_normal((256,) * 3, dtype=np.float32)
    least = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        scipy.fft.rfftn(values, workers=1)
        least = min(least, time.process_time() - started)
    return least


def measure(command: Sequence[str | Path], cwd: Path | None = None, *, nice: int = 0) -> Cost:
    """Run a command to its end and say what it took.

    Raises
    ------
    SystemExit
        The command failed; what it said is shown.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **THREADS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=lambda: os.nice(nice),
    )
    said: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reader.start()
    peaks: dict[int, int] = {}
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        _note_peaks(process.pid, peaks)
        time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    text = "".join(said)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {process.returncode}:\n{text[-3000:]}")
    return Cost(
        user_seconds=usage.ru_utime,
        system_seconds=usage.ru_stime,
        wall_seconds=time.perf_counter() - started,
        peak_bytes=peaks.pop(process.pid, usage.ru_maxrss * 1024),
        worker_peak_bytes=tuple(sorted(peaks.values(), reverse=True)),
        stdout=text,
    )


def _note_peaks(parent: int, peaks: dict[int, int]) -> None:
    """Note the kernel's own high-water mark of a process and its children."""
    try:
        found = [parent, *(child.pid for child in psutil.Process(parent).children(recursive=True))]
    except psutil.Error:
        return
    for pid in found:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("VmHWM:"):
                peaks[pid] = 1024 * int(line.split()[1])


def distres(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of the distres beside this Python."""
    beside = Path(sys.executable).with_name("distres")
    return [beside if beside.exists() else shutil.which("distres") or "distres", *arguments]


def make_blob(folder: Path, edge: int, seed: int = 1) -> dict[str, Path]:
    """Make the blob phantom of an edge unless it is there; return its volumes by role."""
    place = folder / f"blob{edge}"
    if not (place / "blob_truth.json").exists():
        measure(
            distres(
                *("phantom", "blob", "--shape", str(edge), "--seed", str(seed)),
                *("-o", place, "--overwrite"),
            )
        )
    roles = ("half1", "half2", "mask", "labels", "truth_0.5", "truth_0.143")
    return {role: place / f"blob_{role}.mrc" for role in roles}


def localfsc(volumes: dict[str, Path], output: Path, *options: str) -> list[str | Path]:
    """Return the command of a local FSC in one process, without pictures."""
    return distres(
        *("localfsc", volumes["half1"], volumes["half2"], "-m", volumes["mask"]),
        *("-o", output, "--overwrite", "--cluster", "none", "--no-pictures"),
        *("--device", "cpu", *options),
    )


def startup(folder: Path) -> Cost:
    """Measure the local FSC of 32^3 voxels: loading libraries, and what every run costs."""
    volumes = make_blob(folder, 32)
    command = localfsc(volumes, folder / "run32")
    costs = [measure(command) for _ in range(3)]
    return min(costs, key=lambda cost: cost.cpu_seconds)


def table(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """Lay out a Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
