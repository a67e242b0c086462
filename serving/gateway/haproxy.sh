#!/bin/sh
# Ray Serve starts this in place of HAProxy: haproxy_launcher.py says why.
python=$PORTRAIT_HAPROXY_PYTHON
[ -x "$python" ] || python=python3
exec "$python" -I -S "$(dirname "$0")/haproxy_launcher.py" "$@"
