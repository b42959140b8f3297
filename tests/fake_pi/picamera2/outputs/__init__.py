"""Where encoded frames go."""


class Output:
    """Takes frames; subclass it."""

    def __init__(self, pts: object = None) -> None:
        self.recording = False
        self.ptsoutput = pts

    def start(self) -> None:
        self.recording = True

    def stop(self) -> None:
        self.recording = False

    def outputframe(
        self,
        frame: bytes,
        keyframe: bool = True,  # noqa: FBT002 - so it is called
        timestamp: int | None = None,
        packet: object = None,
        audio: bool = False,  # noqa: FBT002 - so it is called
    ) -> None:
        """Take one frame; called on the encoder's thread."""
