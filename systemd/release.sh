#!/bin/sh
# Builds a release beside those that are there, and switches to it. For the installers to use.
#
#   release.sh build SOURCE [EXTRA]   a virtual environment of a wheel or source tree; prints its folder
#   release.sh switch FOLDER          make it the current one; prints the one before, if any
#   release.sh start BEFORE UNIT...   restart units with the current one; should one that ran not come up,
#                                     go back to the release BEFORE
#   release.sh tidy                   remove all releases but the current one and the one before
#
# Settings are kept beside themselves as NAME.before, from after `build` until the end of `start`.
# Nothing that runs is touched by `build`, and what it made is removed again when it fails.
set -eu
# Whatever root is used to: the service is not root, and has to read this.
umask 022

ROOT=/opt/camagent
NEEDED_MB=400
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

fail() { echo "camagent: $*" >&2; exit 1; }

check_machine() {
  case "$(uname -m)" in
  aarch64 | x86_64) ;;
  *) fail "this machine is $(uname -m); a 64-bit system is needed (Raspberry Pi OS, 64-bit)" ;;
  esac
  [ "$(getconf LONG_BIT)" = 64 ] || fail "this system is 32-bit; Raspberry Pi OS, 64-bit, is needed"
  [ -d /run/systemd/system ] || fail "systemd does not run here, and the agent is its service"
  [ -x /usr/bin/python3 ] || fail "python3 is missing: sudo apt install python3 python3-venv"
  /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$(/usr/bin/python3 --version) is too old: 3.11 or newer is needed (Raspberry Pi OS bookworm)"
  place=$ROOT
  [ -d "$place" ] || place=/opt
  [ -d "$place" ] || place=/
  free_mb=$(df --output=avail --block-size=1M "$place" | tail -n 1 | tr -d ' ')
  [ "$free_mb" -ge "$NEEDED_MB" ] ||
    fail "$place has $free_mb MB free, and $NEEDED_MB MB are needed"
}

build() {
  source=$1 extra=${2:+[$2]}
  check_machine
  # Of a run that was cut off: nobody wants those settings back.
  rm -f /etc/camagent/*.before
  mkdir -p "$ROOT/releases"
  folder=$(mktemp -d "$ROOT/releases/new.XXXXXX")
  chmod 755 "$folder"
  trap 'rm -rf "$folder"' EXIT
  trap 'exit 1' HUP INT TERM
  # The system's python3, and its packages: libcamera fits no other.
  /usr/bin/python3 -m venv --system-site-packages "$folder" >"$folder/log" 2>&1 ||
    fail "no virtual environment can be made: sudo apt install python3-venv"
  # A numpy beside the system's own breaks the system's picamera2.
  /usr/bin/python3 -c 'import numpy; print(f"numpy=={numpy.__version__}")' \
    >"$folder/constraints.txt" 2>/dev/null || true
  "$folder/bin/python" -m pip install --quiet --only-binary=:all: --constraint "$folder/constraints.txt" \
    "$source$extra" >"$folder/log" 2>&1 || {
    tail -n 4 "$folder/log" >&2
    fail "the packages could not be installed, see above; nothing was changed"
  }
  version=$("$folder/bin/camagent" --version 2>"$folder/log") || {
    tail -n 4 "$folder/log" >&2
    fail "the new version does not start, see above; nothing was changed"
  }
  rm "$folder/log" "$folder/constraints.txt"
  echo "${version#camagent }" >"$folder/version"
  trap - EXIT
  echo "$folder"
}

switch() {
  before=$(readlink "$ROOT/current" || true)
  # Two steps, for a link cannot be written over at once; mv can.
  ln -sfn "$1" "$ROOT/next"
  mv -T "$ROOT/next" "$ROOT/current"
  [ -z "$before" ] || [ "$before" = "$1" ] || ln -sfn "$before" "$ROOT/previous"
  echo "$before"
}

start() {
  before=$1
  shift
  ran=$(systemctl list-units --plain --no-legend --state=active,activating 'camagent*.service' |
    awk '{print $1}')
  # shellcheck disable=SC2086 # one word a unit
  if systemctl restart $ran "$@"; then
    rm -f /etc/camagent/*.before
    return
  fi
  systemctl status --no-pager --lines=5 "$@" >&2 || true
  if [ -n "$ran" ] && [ -d "$before" ]; then
    echo "camagent: the new version does not run; back to the one before" >&2
    switch "$before" >/dev/null
    cp "$before"/units/*.service /etc/systemd/system/ 2>/dev/null && systemctl daemon-reload
    for settings in /etc/camagent/*.before; do
      [ ! -e "$settings" ] || mv "$settings" "${settings%.before}"
    done
    # shellcheck disable=SC2086 # one word a unit
    systemctl restart $ran || true
    fail "nothing was changed"
  fi
  rm -f /etc/camagent/*.before
  fail "it is installed but does not run; see above, and: journalctl -u $1"
}

tidy() {
  for folder in "$ROOT"/releases/*; do
    [ "$folder" = "$(readlink "$ROOT/current" || true)" ] ||
      [ "$folder" = "$(readlink "$ROOT/previous" || true)" ] || rm -rf "$folder"
  done
}

command=${1:-}
[ $# -eq 0 ] || shift
case "$command" in
check | build | switch | start | tidy) [ "$command" != check ] || command=check_machine; "$command" "$@" ;;
*) sed -n '2,11p' "$0" >&2; exit 2 ;;
esac
