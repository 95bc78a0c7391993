# One image for the server and the agent.
#
#   docker build -t meshca .                                with SoftHSM as embedded token store
#   docker build -t meshca --build-arg SOFTHSM_DIR= .       without, for a PKCS#11 module of your own
#
# deploy/container.md tells how to run it; "node scripts/try-dockerfile.mjs" replays these steps without a container engine.

FROM debian:bookworm-slim AS build
# Debian's Node and npm only start the set-up; the product is built and runs on the Node from package-lock.json.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates nodejs npm python3 make g++
WORKDIR /build
COPY package.json package-lock.json ./
COPY scripts scripts
COPY softhsm softhsm
RUN node scripts/setup.mjs --for=build
COPY tsconfig.json ./
COPY proto proto
COPY src src
COPY sidecar sidecar
RUN node scripts/build.mjs
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
 && rm -rf node_modules/node-linux-*/include node_modules/node-linux-*/share node_modules/pkcs11js/build/Release/obj.target dist/.[!.]* \
 && node_modules/node-linux-*/bin/node -e "new (require('pkcs11js').PKCS11)(); require('koffi')" \
 && node_modules/node-linux-*/bin/node dist/product/main.js --version

FROM debian:bookworm-slim
# Where the container keeps SoftHSM's tokens; empty leaves SoftHSM out of the image.
ARG SOFTHSM_DIR=/var/lib/meshca/softhsm
RUN if [ -n "$SOFTHSM_DIR" ]; then \
      apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends softhsm2 && rm -rf /var/lib/apt/lists/*; \
    fi
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/meshca --create-home --shell /usr/sbin/nologin meshca \
 && chmod 700 /var/lib/meshca \
 && install -d -o meshca -g meshca /run/meshca
COPY --from=build /build/package.json /opt/meshca/package.json
COPY --from=build /build/node_modules /opt/meshca/node_modules
COPY --from=build /build/dist/product /opt/meshca/dist/product
COPY --from=build /build/proto /opt/meshca/proto
COPY --from=build /build/softhsm /opt/meshca/softhsm
RUN ln -s /opt/meshca/node_modules/node-linux-*/bin/node /usr/local/bin/node \
 && ln -s /opt/meshca/dist/product/main.js /usr/local/bin/meshca
COPY --chmod=755 deploy/container-entry.sh /usr/local/bin/container-entry
ENV NODE_ENV=production MESHCA_SOFTHSM_DIR=$SOFTHSM_DIR
USER 10001:10001
WORKDIR /var/lib/meshca
VOLUME ["/var/lib/meshca"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD meshca healthcheck "$(cat /run/meshca/role)"
ENTRYPOINT ["container-entry"]
CMD ["server", "run"]
