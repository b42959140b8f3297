"""The relay: a small server that pairs viewers with devices and passes their messages on.

`app` wires it up, `device` and `viewer` are its two sockets, `sessions` knows who watches what and
`bus` who is online. Who may do what: `auth` (tokens) on `keys` and `key_url`, `rights` (whether one
may stay), `addresses` (proxies and origins), `turn`. `store` keeps devices, grants and sessions in
SQL; `database` opens that, `tables` and `schema` say what it looks like. `cli` and `commands` are the
program, and `web/` is the page that a person sees.
"""
