#!/bin/sh
# The hook of all clients that run a program: it puts an answer to a challenge in place, by the test.
#   hook.sh uacme-style:    begin|done|failed TYPE NAME TOKEN AUTH
#   hook.sh dehydrated:     deploy_challenge|clean_challenge NAME TOKEN VALUE
set -eu
put() { curl -sSf -o /dev/null -X PUT --data-binary "$3" "$ACME_CONTROL/$1/$2"; }
case "$1" in
  begin)
    case "$2" in
      http-01) put http "$4" "$5" ;;
      dns-01) put dns "_acme-challenge.$3" "$5" ;;
      *) exit 1 ;;
    esac
    ;;
  deploy_challenge)
    if [ "${CHALLENGE:-dns}" = http ]; then put http "$3" "$4"; else put dns "_acme-challenge.$2" "$4"; fi
    ;;
esac
