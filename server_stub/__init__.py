"""The relay: a small server that pairs viewers with devices and passes their messages on.

`app` wires it up, `device` and `viewer` are its two sockets, `watching` starts and ends sessions,
`sessions` knows who watches what and `presence` who is online. Who may do what: `auth` (tokens) on
`keys` and `key_url`, `rights` (whether one may stay), `addresses` (proxies and origins), `turn`.
`store` and `session_store` keep devices, grants and sessions in SQL; `database` opens that, `tables`
and `schema` say what it looks like. `cli` and `commands` are the program, and `web/` is the page that
a person sees.

With Redis `several` processes are one relay: `redis_link` is the way there, `redis_presence` what
they know together, `envelopes` what they tell each other, `routing` how that gets there, `instances`
what one asks of the others, `answering` what it does for them, `shared` has the sessions in between,
`shared_limits` their common rates, and `shared_places` what a user has taken.
"""
