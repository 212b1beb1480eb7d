"""`python3 -m tests`: set up on a fresh machine and pass the tests. Options are handed on to pytest."""

import subprocess
import sys

from unlearn_core.environment import ROOT, python_with

sys.exit(subprocess.run([str(python_with(ROOT / "tests" / "requirements.txt")), "-m", "pytest", *sys.argv[1:]], cwd=ROOT).returncode)
