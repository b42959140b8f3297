#!/bin/sh
# Removes what install.sh brought: agent and relay. Settings and the relay's data stay, unless
# --purge is given; the system's packages, such as picamera2, stay in any case.
set -eu

fail() { echo "camagent: $*" >&2; exit 1; }
purge=no
case "${1:-}" in
'') ;;
--purge) purge=yes ;;
*) sed -n '2,3p' "$0" | sed 's/^# //' >&2; fail "there is no option $1" ;;
esac
[ "$(id -u)" = 0 ] || fail "only root can uninstall: sudo $0"

units=/etc/systemd/system
for unit in $(systemctl list-units --all --plain --no-legend 'camagent*.service' | awk '{print $1}') \
  camagent.service camagent-relay.service; do
  systemctl disable --now --quiet "$unit" 2>/dev/null || true
done
rm -f $units/camagent.service $units/camagent@.service $units/camagent-relay.service
systemctl daemon-reload
systemctl reset-failed 'camagent*' 2>/dev/null || true
rm -f /usr/local/bin/camagent /usr/local/bin/camagent-relay
rm -rf /opt/camagent
if [ $purge = yes ]; then
  rm -rf /etc/camagent /var/lib/camagent-relay $units/camagent*.service.d
  if id camagent-relay >/dev/null 2>&1; then userdel camagent-relay; fi
  echo "camagent: removed, with its settings"
else
  echo "camagent: removed; the settings in /etc/camagent are still there"
fi
