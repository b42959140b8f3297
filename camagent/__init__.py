"""A camera agent for the Raspberry Pi: it dials out, waits, and sends live video to viewers.

    signaling/   messages: the wire protocol, and the WebSocket that carries it
    media/       pictures: camera, encoder, and the hub that hands each frame to every viewer
    webrtc/      viewers: one session and one peer connection each

What ties them together stands beside this file: `cli` reads the command line, `settings` the
environment, `agent` builds every part and runs them, `presence` tells what this device knows about
itself, `logs` writes it all down, and `errors` draws everything that can go wrong on purpose.
"""

__version__ = "0.1.0"
