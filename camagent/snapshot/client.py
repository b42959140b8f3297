"""The command's side of the snapshot socket."""

import asyncio
from pathlib import Path

from camagent.errors import SnapshotError
from camagent.snapshot.exchange import LONGEST_LINE, REQUEST, read_header


async def ask_for_picture(path: Path, *, deadline_s: float = 45.0) -> bytes:
    """Give a picture of the agent that listens at `path`, as JPEG.

    Raises:
        SnapshotError: it gave none; the text is the agent's, or says what is wrong with the socket.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await _ask(path)
    except TimeoutError:
        problem = f"the running agent gave no answer for {deadline_s:g} s"
    except PermissionError:
        problem = "this user may not ask the running agent: sudo camagent snapshot"
    except (FileNotFoundError, ConnectionRefusedError):
        problem = f"the running agent does not listen at {path}; restart it, or see its log"
    except (OSError, EOFError):
        problem = "the running agent ended before it gave a picture; see its log"
    except ValueError as error:
        problem = f"the running agent is not understood, being of another version? {error}"
    raise SnapshotError(problem)


async def _ask(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    try:
        writer.write(REQUEST)
        line = await reader.readline()
        if not line:
            raise EOFError
        header = read_header(line)
        if isinstance(header, str):
            raise SnapshotError(f"the running agent gives no picture: {header}")
        return await reader.readexactly(header)
    finally:
        writer.transport.abort()
