"""The relay: a small server that pairs viewers with devices and passes their messages on.

`app` wires it up, `device` and `viewer` are its two sockets, `watching` starts and ends sessions,
`sessions` knows who watches what, `presence` who is online, `store` keeps devices, grants and
sessions in SQL, `auth` and `turn` decide who may do what, and `web/` is the page that a person sees.

With Redis several processes are one relay: `redis_link` is the way there, `redis_presence` what they
know together, `envelopes` what they tell each other, `routing` how that gets there, `instances` what
one asks of the others, `answering` what it does for them, `shared` has the sessions in between, and `shared_limits` their common rates.
"""
