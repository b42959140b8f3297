"""What this machine's processor is good at."""

import re
from pathlib import Path

_INSTRUCTIONS = re.compile(r"^(?:flags|Features)\s*:.*\baes\b", re.MULTILINE)


def has_aes_instructions(root: Path = Path("/")) -> bool:
    """Tell whether it has AES in hardware: a Pi 5 does, those before it do not."""
    try:
        return bool(_INSTRUCTIONS.search((root / "proc/cpuinfo").read_text()))
    except OSError:
        return False
