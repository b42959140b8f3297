"""What is said at the snapshot socket, and where that is."""

SOCKET_NAME = "snapshot.sock"
"""In the agent's runtime directory."""

REQUEST = b"snapshot\n"
PICTURE, PROBLEM = "picture", "problem"

LONGEST_LINE = 1024
LARGEST_PICTURE = 32 * 1024 * 1024
"""In bytes; far more than any camera's JPEG has."""


def picture_header(size: int) -> bytes:
    """Announce a picture of `size` bytes."""
    return f"{PICTURE} {size}\n".encode()


def problem_line(problem: str) -> bytes:
    """Say why there is no picture, in one line of bounded length."""
    text = " ".join(problem.split()).encode()[: LONGEST_LINE - len(PROBLEM) - 2]
    return f"{PROBLEM} {text.decode(errors='ignore')}\n".encode()


def read_header(line: bytes) -> int | str:
    """Give the size of the picture that follows in bytes, or the problem.

    Raises:
        ValueError: it is neither, or the picture would be too large.
    """
    word, _, rest = line.decode(errors="replace").strip().partition(" ")
    if word == PROBLEM:
        return rest
    if word != PICTURE or not 0 < int(rest) <= LARGEST_PICTURE:
        raise ValueError(f"no answer of an agent: {line[:40]!r}")
    return int(rest)
