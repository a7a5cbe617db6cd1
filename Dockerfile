# Two images from one build: `proxy`, and `container`, which is a base image for applications (FROM gantry/container,
# then COPY).
#
#   docker build --target proxy -t gantry/proxy .
#   docker build --target container -t gantry/container .
#
# Both run as the user `node` (uid 1000), write nothing outside volumes, and drain on SIGTERM.

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# --ignore-scripts: the image has Node, so the Node of the development dependencies is not installed.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node scripts/build.ts --out /gantry \
 && cp package-lock.json /gantry/ \
 && cd /gantry \
 && npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && rm package-lock.json

FROM node:24-bookworm-slim AS gantry
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="WSGI for TypeScript: a reverse proxy and separately scaled application containers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="docker.io/library/node:24-bookworm-slim"
COPY --from=build /gantry /opt/gantry
# The command starts Node; only for health probes it runs in a shell.
COPY deploy/image/gantry /usr/local/bin/gantry
# The link lets applications anywhere in the image `import … from 'gantry'`. The two directories in /run exist so that
# empty volumes that are mounted there belong to the user `node`, who writes to them.
RUN mkdir -p /node_modules /app /run/gantry /run/gantry-secret \
 && ln -s /opt/gantry /node_modules/gantry \
 && chown node:node /run/gantry /run/gantry-secret
# `gantry health` sends its probe to GANTRY_HEALTH_LISTEN: the loopback address, which only this container can reach.
ENV NODE_ENV=production \
    GANTRY_HEALTH_LISTEN=127.0.0.1:8001
WORKDIR /app
USER node
STOPSIGNAL SIGTERM

FROM gantry AS proxy
ENV GANTRY_LISTEN=:8080
EXPOSE 8080
# The proxy is live if it listens. Readiness (`gantry health` without --live) needs a container, and a new proxy would
# not bring one back.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["gantry", "health", "--live"]
ENTRYPOINT ["gantry", "proxy"]

FROM gantry AS container
COPY examples/hello.ts /app/application.ts
# An image that is based on this one sets its module here and, if the module is not for WSGI, its interface
# (GANTRY_INTERFACE). The command of a container can add options, and a module there overrides the variable.
ENV GANTRY_MODULE=application.ts
EXPOSE 8000
# Ready: the container listens or, with --join, a proxy has linked to it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=5 CMD ["gantry", "health"]
ENTRYPOINT ["gantry", "container"]
