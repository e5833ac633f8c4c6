#!/bin/sh
# Start mosquitto with a password file made from the secrets. Nothing secret is passed as an
# argument, where every process could read it, and nothing is written outside memory.
set -eu
umask 077

run=/run/headgate
: >"$run/users"
printf 'gateway:%s\n' "$(cat /run/secrets/mqtt_gateway_password)" >>"$run/users"
printf 'simulator:%s\n' "$(cat /run/secrets/mqtt_simulator_password)" >>"$run/users"
sed '/^[[:space:]]*$/d' /run/secrets/mqtt_devices >>"$run/users"
mosquitto_passwd -U "$run/users" # replaces each password by its salted hash

# What the health check's mosquitto_sub reads its options from.
mkdir -p "$run/health"
printf -- '-p 1884\n-u gateway\n-P %s\n' "$(cat /run/secrets/mqtt_gateway_password)" \
    >"$run/health/mosquitto_sub"

exec mosquitto -c /mosquitto/config/mosquitto.conf
