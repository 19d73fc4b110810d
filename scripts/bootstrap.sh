#!/bin/sh
# Find a Python that Parallactic runs on, and let it make .venv: sh scripts/bootstrap.sh demo|test
# Python 3.11 is tried first, because CASA (what the tests compare with) has packages for it.
set -eu
here=$(dirname "$0")
found=""
for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 python3.14; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in
        3.[0-9] | 3.10 | [0-2].*) found="$found $candidate is $version;" ;;
        *) exec "$candidate" -I "$here/bootstrap.py" "$@" ;;
    esac
    # What the caller named is used or refused; another Python in its place would be a surprise.
    [ "$candidate" != "${PYTHON:-}" ] || break
done
echo "[set-up] Parallactic needs Python 3.11 or later:${found:- no python3 was found.}" >&2
echo "[set-up] On Debian 12: apt-get install python3. A Python elsewhere: make PYTHON=/path/to/python3.11 ..." >&2
exit 1
