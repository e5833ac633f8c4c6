#!/bin/sh
# Installs the services that the tests talk to, where that can be done without asking.
missing=
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || missing="mosquitto"
command -v mosquitto_pub >/dev/null 2>&1 || missing="$missing mosquitto-clients"
command -v victoria-metrics >/dev/null 2>&1 || missing="$missing victoria-metrics"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$(printf ' %s' $missing) ..."
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    if { apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing; } >/dev/null 2>&1
    then exit 0; fi
fi
echo "Could not install$(printf ' %s' $missing): the tests that need them will be skipped."
