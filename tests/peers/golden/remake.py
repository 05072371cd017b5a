"""Remakes the golden files beside this script; the same bytes come out with the versions of ../requirements.txt.

    tests/peers/run golden
"""
import subprocess
import sys
from pathlib import Path

for script in ("ops.py", "nets.py", "maps.py"):
    subprocess.run([sys.executable, script], cwd=Path(__file__).parent, check=True)
