#!/bin/sh
# Prepare docker-compose.yml for its first start: .env, one random secret a file, and two tokens of
# InfluxDB's, for which it starts InfluxDB. What is there already is left alone, so running it again
# changes nothing; but tokens that can do everything, as earlier versions gave them, are replaced.
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

if [ ! -e "$root/.env" ]; then
    cp "$root/.env.example" "$root/.env"
    echo "made $root/.env"
fi

influx() { # influx COMMAND...: InfluxDB's own client, logged in as its administrator
    docker compose --project-directory "$root" exec -T influxdb influx "$@"
}

bucket_id() {
    name=$(sed -n 's/^INFLUXDB_BUCKET=//p' "$root/.env")
    influx bucket list --name "$name" --hide-headers | cut -f 1
}

token() { # token NAME RIGHT: keep an InfluxDB token that has this right on the bucket only
    file=$secrets/influxdb_$1_token
    if [ -s "$file" ] && ! cmp -s "$file" "$secrets/influxdb_admin_token"; then
        return
    fi
    if [ -z "${bucket:-}" ]; then
        # Answers once its organization and bucket are made.
        docker compose --project-directory "$root" up -d --wait influxdb >&2
        bucket=$(bucket_id)
        if [ -z "$bucket" ]; then
            echo "expected InfluxDB to have the bucket of .env, found none" >&2
            exit 1
        fi
    fi
    new=$(influx auth create --description "$1" "--$2-bucket" "$bucket" --json |
        sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
    if [ -z "$new" ]; then
        echo "expected a token that may $2 bucket $bucket, got none; is InfluxDB up?" >&2
        exit 1
    fi
    # Into the file that is there: a container keeps seeing the one it was started with.
    printf %s "$new" >"$file"
    chmod 644 "$file"
    echo "made $file"
}

if ! command -v docker >/dev/null; then
    echo "expected docker, to have InfluxDB make tokens; install it, and run this again" >&2
    exit 1
fi
token gateway write
token grafana read
