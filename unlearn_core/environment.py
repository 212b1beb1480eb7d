"""Setting up on a fresh machine: a virtual environment with the pinned packages. Standard library only."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = (3, 11)


def python_with(requirements: Path) -> Path:
    """The Python of `.venv` beside the project with everything in `requirements` installed; made on the first call."""
    if sys.version_info < OLDEST:
        raise SystemExit(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed; this is {sys.version.split()[0]}.")
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() or subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode:
        print("Creating the virtual environment .venv …", file=sys.stderr)
        if subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)]).returncode:
            raise SystemExit(
                "The virtual environment could not be made. On Debian and Ubuntu, install the package python3-venv and try again."
            )
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sorted({ROOT / "requirements.txt", requirements}))).hexdigest()
    stamp = folder / f"installed-{requirements.parent.name if requirements.parent != ROOT else 'app'}"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("Installing the pinned packages (once, some minutes) …", file=sys.stderr)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)], check=True)
        stamp.write_text(wanted)
    return python


def start_app(options: list[str]) -> int:
    """Set up if needed and run the dashboard until it is stopped; returns its exit status."""
    python = python_with(ROOT / "requirements.txt")
    command = [str(python), "-m", "streamlit", "run", str(ROOT / "app.py"), *options]
    try:
        return subprocess.run(command, cwd=ROOT).returncode
    except KeyboardInterrupt:
        return 0
