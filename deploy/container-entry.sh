#!/bin/sh
# Becomes meshca. Before a server with the embedded SoftHSM, makes its tokens ready and points the server to them.
set -eu
if [ "${1-}" = server ] && [ "${2-}" = run ] && [ -n "${MESHCA_SOFTHSM_DIR-}" ]; then
  node /opt/meshca/softhsm/init.mjs --dir "$MESHCA_SOFTHSM_DIR" >&2
  export MESHCA_SERVER_HSM_SOFTHSM_CONF="$MESHCA_SOFTHSM_DIR/softhsm2.conf"
  export MESHCA_SERVER_HSM_ISSUING_PIN_FILE="$MESHCA_SOFTHSM_DIR/pins/issuing.pin"
  export MESHCA_SERVER_HSM_ROOT_PIN_FILE="$MESHCA_SOFTHSM_DIR/pins/root.pin"
fi
# For the health check, which can not tell from process 1 when the agent shares the process namespace of its host.
case "${1-} ${2-}" in 'server run' | 'agent run') printf %s "$1" > /run/meshca/role ;; esac
exec meshca "$@"
