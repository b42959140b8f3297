"""Encoders by the names that picamera2 gives them; a Pi 5 has none in its chip."""

from picamera2.encoders.encoder import Encoder
from picamera2.encoders.h264_encoder import H264Encoder

__all__ = ["Encoder", "H264Encoder"]
