"""The relay: a small server that pairs viewers with devices and passes their messages on.

`app` wires it up, `device` and `viewer` are its two sockets, `sessions` knows who watches what,
`bus` who is online, `store` keeps devices, grants and sessions in SQL, `auth` and `turn` decide who
may do what, and `web/` is the page that a person sees.
"""
