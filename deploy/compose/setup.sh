#!/bin/sh
# Prepare docker-compose.yml for its first start: .env and one random secret a file.
# What is there already is left alone, so running it again changes nothing.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
secrets=$root/deploy/compose/secrets

# The folder keeps other users of this machine out. The files inside are readable because a
# container sees them under its own user number, which is not the number of their owner here.
umask 077
mkdir -p "$secrets"
chmod 700 "$secrets"

keep() { # keep NAME: store standard input as this secret unless there is one
    if [ -e "$secrets/$1" ]; then
        cat >/dev/null
        return
    fi
    cat >"$secrets/$1"
    chmod 644 "$secrets/$1"
    echo "made $secrets/$1"
}

random() { # 32 hexadecimal digits: 128 bits
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

random | keep mqtt_gateway_password
random | keep mqtt_simulator_password
keep mqtt_devices </dev/null # one name:password a line, for the plant's own devices
random | keep influxdb_admin_password
random | keep influxdb_admin_token
random | keep grafana_admin_password
random | keep console_token # what the gateway's pages ask for

# One token does for a start. deploy/README.md shows how to give the gateway one that only
# writes, and Grafana one that only reads.
keep influxdb_gateway_token <"$secrets/influxdb_admin_token"
keep influxdb_grafana_token <"$secrets/influxdb_admin_token"

if [ ! -e "$root/.env" ]; then
    cp "$root/.env.example" "$root/.env"
    echo "made $root/.env"
fi
