#!/bin/sh
# Runs the unit tests that take no time on every other Python that is installed and that we admit, each
# in an environment of its own, .venv-VERSION.
set -eu
cd "$(dirname "$0")/.."
used=$1
for version in 3.11 3.12 3.13 3.14; do
    python=python$version
    # It may be there in name only, as pyenv's are.
    $python -c 'import ensurepip, venv' 2>/dev/null || continue
    [ "$version" != "$("$used" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ] || continue
    folder=.venv-$version
    if [ ! -e "$folder/.ready" ] || [ requirements.lock -nt "$folder/.ready" ]; then
        echo "Setting up $folder ..."
        $python -m venv --clear "$folder"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
        touch "$folder/.ready"
    fi
    echo "Unit tests on Python $version"
    "$folder/bin/python" -m pytest -n 2 --dist worksteal -q tests/unit -m "not slow and not thorough"
done
