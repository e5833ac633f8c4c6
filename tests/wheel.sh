#!/bin/sh
# Builds the wheel with the Python that is named, installs it into a folder of its own, and prints that
# folder: what the tests run. Folders are named by what is in them, so that tests that are still
# running in another keep theirs.
set -eu
cd "$(dirname "$0")/.."
python=$1
mkdir -p build/installed
new=$(mktemp -d build/installed/new-XXXXXX)
trap 'rm -rf "$new"' EXIT
pip() {
    "$python" -m pip "$@" --quiet --disable-pip-version-check --no-deps --no-index >&2
}
pip wheel --no-build-isolation -w "$new" .
folder=$PWD/build/installed/$(sha256sum "$new"/*.whl | cut -c -16)
if [ ! -d "$folder" ]; then
    pip install --target "$new/site" "$new"/*.whl
    # Where another has been faster, its folder is as good.
    mv -T "$new/site" "$folder" || [ -d "$folder" ]
fi
echo "$folder"
