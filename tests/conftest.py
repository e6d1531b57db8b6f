"""Helpers that several folders of tests share lie in this one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
