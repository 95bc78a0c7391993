#!/bin/sh
# NGINX CONFIG STEP: a driver of one's own, here for nginx. The call comes as JSON on standard input.
set -e
case "$3" in
  apply | rollback)
    "$1" -t -q -e stderr -c "$2" || exit 3 # refused: nginx goes on with the set before
    "$1" -s reload -e stderr -c "$2"
    echo '{"trust":"unknown","note":"nginx was told to reload"}'
    ;;
esac
