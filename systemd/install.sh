#!/bin/sh
# Installs the camera agent on this machine, or another version of it: as often as you like.
#
#   sudo ./systemd/install.sh [--device-id ID] [--server-url URL] [--device-token TOKEN]
#   sudo ./systemd/install.sh --relay     the relay instead of the agent
#
#   --wheel FILE     install this wheel instead of the source tree that the script lies in
#   --no-start       install only; neither enable nor start anything
#
# What is not given is asked for on a terminal. Settings that are there already are kept. A version
# that does not run gives way to the one before.
set -eu
# Whatever root is used to: the service is not root, and has to read this.
umask 022

here=$(dirname "$(readlink -f "$0")")
source=$(dirname "$here")
etc=/etc/camagent
units=/etc/systemd/system
service=camagent extra='' device_id='' server_url='' device_token='' start=yes

say() { echo "camagent: $*"; }
fail() { echo "camagent: $*" >&2; exit 1; }
usage() { sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; }

while [ $# -gt 0 ]; do
  case "$1" in
  --device-id | --server-url | --device-token | --wheel)
    [ $# -ge 2 ] || fail "$1 needs a value"
    case "$1" in
    --device-id) device_id=$2 ;;
    --server-url) server_url=$2 ;;
    --device-token) device_token=$2 ;;
    --wheel) source=$(readlink -f "$2") ;;
    esac
    shift ;;
  --relay) service=camagent-relay extra=server ;;
  --no-start) start=no ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; fail "there is no option $1" ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || fail "only root can install: sudo $0"
[ -e "$source" ] || fail "there is no $source"
# One release serves both: what is there stays complete.
[ ! -e "$units/camagent-relay.service" ] || extra=server

setting() { sed -n "s/^$2=//p" "$1" 2>/dev/null | tail -n 1; }

put_setting() { # FILE NAME VALUE: the value may hold anything but a line end
  NAME=$2 VALUE=$3 awk '
    index($0, ENVIRON["NAME"] "=") == 1 { if (!done) print ENVIRON["NAME"] "=" ENVIRON["VALUE"]; done = 1; next }
    { print }
    END { if (!done) print ENVIRON["NAME"] "=" ENVIRON["VALUE"] }' "$1" >"$1.new"
  chmod --reference="$1" "$1.new" && chown --reference="$1" "$1.new" && mv "$1.new" "$1"
}

ask() { # QUESTION: prints the answer; nothing where there is nobody to ask
  [ -t 0 ] || return 0
  printf '%s: ' "$1" >&2
  read -r answer
  echo "$answer"
}

install_packages() {
  packages=
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || packages="python3 python3-venv"
  if [ "$service" = camagent ] && grep -qs 'Raspberry Pi' /proc/device-tree/model; then
    /usr/bin/python3 -c 'import picamera2' 2>/dev/null || packages="$packages python3-picamera2"
  fi
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || fail "there is no apt-get here; install yourself: $packages"
  say "installing $packages"
  # shellcheck disable=SC2086 # one word a package
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $packages; } >/dev/null ||
    fail "apt-get could not install $packages; is there a network? Nothing was changed"
}

configure() { # NAME VALUE QUESTION: a value that is given wins, one that is there stays
  value=$2
  [ -n "$value" ] || [ -n "$(setting $etc/camagent.env "$1")" ] || value=$(ask "$3")
  [ -z "$value" ] || put_setting $etc/camagent.env "$1" "$value"
}

configure_agent() {
  if [ -e $etc/camagent.env ]; then
    # For going back to within this run, and no later one.
    trap 'rm -f "$etc/camagent.env.before"' EXIT
    cp -a $etc/camagent.env $etc/camagent.env.before
  else
    install -m 0640 "$here/camagent.env" $etc/camagent.env
  fi
  chmod o= $etc/camagent.env
  configure CAMAGENT_DEVICE_ID "$device_id" "The name under which the server knows this device"
  configure CAMAGENT_SERVER_URL "$server_url" "The server's address, such as wss://relay.example.com"
  configure CAMAGENT_DEVICE_TOKEN "$device_token" "The token that the server gave out for it, if any"
}

configure_relay() {
  id camagent-relay >/dev/null 2>&1 ||
    useradd --system --no-create-home --home-dir /var/lib/camagent-relay --shell /usr/sbin/nologin \
      camagent-relay
  [ -e $etc/relay.env ] || install -m 0640 "$here/relay.env" $etc/relay.env
  chgrp camagent-relay $etc/relay.env
  chmod o= $etc/relay.env
  if [ -z "$(setting $etc/relay.env CAMAGENT_RELAY_JWT_SECRET)" ]; then
    put_setting $etc/relay.env CAMAGENT_RELAY_JWT_SECRET "$(head -c 48 /dev/urandom | base64 -w 0)"
  fi
}

install_units() {
  install -m 0644 "$here/$service.service" $units/
  if [ $service = camagent ]; then
    "$here/make-template" <"$here/camagent.service" >"$units/camagent@.service"
  fi
  systemctl daemon-reload
}

link_commands() {
  ln -sfn /opt/camagent/current/bin/camagent /usr/local/bin/camagent
  [ -z "$extra" ] || install -m 0755 "$here/camagent-relay" /usr/local/bin/
}

is_configured() {
  [ $service = camagent-relay ] || {
    [ -n "$(setting $etc/camagent.env CAMAGENT_DEVICE_ID)" ] &&
      [ -n "$(setting $etc/camagent.env CAMAGENT_SERVER_URL)" ]
  }
}

"$here/release.sh" check
install_packages
say "building the new version; this takes a few minutes on a small Pi"
release=$("$here/release.sh" build "$source" $extra)
version=$(cat "$release/version")
cp "$source/README.md" "$release/" 2>/dev/null || true

mkdir -p $etc
if [ $service = camagent ]; then configure_agent; else configure_relay; fi
install_units
mkdir "$release/units" && cp "$units"/camagent*.service "$release/units/"
before=$("$here/release.sh" switch "$release")
link_commands
say "version $version is installed"

if [ $start = no ]; then exit 0; fi
systemctl enable --quiet $service.service
if ! is_configured; then
  say "not started yet: set CAMAGENT_DEVICE_ID and CAMAGENT_SERVER_URL in $etc/camagent.env, then"
  say "  sudo systemctl start camagent && sudo camagent check"
  exit 0
fi
"$here/release.sh" start "$before" $service.service
"$here/release.sh" tidy
say "$service runs: systemctl status $service, journalctl -u $service"
[ $service != camagent ] || camagent check || say "the check found something, see above"
