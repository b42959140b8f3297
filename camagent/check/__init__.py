"""`camagent check`: everything that can be wrong with an installation, tried in order.

    command      the command itself: what is tried, and in which order
    findings     what comes of each try, as text and as JSON
    machine      this computer: versions, groups, disk, clock
    settings     whether the settings make an agent
    neighbours   an agent that already runs here
    camera       opened for real, until its first frame
    server       its name, its port, its certificate, its answer to our hello
    relay        which STUN and TURN servers it hands out to this device
    ice          STUN and TURN servers
    candidates   the addresses that viewers are told

Each module gives findings and prints nothing; nothing here is needed to run the agent.
"""
