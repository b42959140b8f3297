"""What `camagent snapshot` does: a picture of now, from the running agent or from the camera itself.

The agent listens at a socket in its runtime directory, whose permissions say who may ask. One
picture for each connection:

    client ──► snapshot
           ◄── picture 123456     and so many bytes of JPEG; or
           ◄── problem the camera is switched off
"""
