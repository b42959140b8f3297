"""A camera agent for the Raspberry Pi: it dials out, waits, and sends live video to viewers.

    signaling/   messages: the wire protocol, and the WebSocket that carries it
    media/       pictures: camera, encoder, and the hub that hands each frame to every viewer
    webrtc/      viewers: one session and one peer connection each
    check/       everything that can be wrong with an installation, tried

What ties them together stands beside this file: `cli` reads the command line, `settings` the
environment, `wiring` makes parts of them, `agent` runs every part, `service` tells systemd how that
goes, `presence` tells what this device knows about itself, `logs` writes it all down, and `errors`
draws everything that can go wrong on purpose.
"""

__version__ = "0.1.0"
