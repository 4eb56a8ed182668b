#!/bin/sh
# Starts the broker, unless other machines reach it and it asks for no password. The arguments are the command, and the
# last of them is its configuration.
#
# MQTT_BIND is the address of this machine at which docker-compose.yml publishes it.
set -eu
for configuration; do :; done

# What is in the files, each of whose lines ends with its end.
lines() {
    for file; do cat "$file" && echo; done | tr -d '\r'
}

# Mosquitto lets nobody in without a password unless a line says so, here or in a file of an include_dir.
lets_everybody_in() {
    {
        lines "$configuration"
        lines "$configuration" | sed -n 's/^ *include_dir  *//p' |
            while read -r folder; do lines "$folder"/*.conf; done
    } | grep '^ *allow_anonymous' | grep -Eqv '^ *allow_anonymous +(false|0) *$'
}

case "${MQTT_BIND-}" in
    127.* | ::1 | '[::1]') ;;
    *)
        if lets_everybody_in; then
            echo "mosquitto is not started: MQTT_BIND=${MQTT_BIND-} opens it to other machines, and $configuration" \
                "lets everybody in (allow_anonymous). Give it a password, as docker-compose.override.example.yml tells," \
                "or take MQTT_BIND out of .env; then: docker compose up -d" >&2
            exit 78
        fi
        ;;
esac
exec "$@"
