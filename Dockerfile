# Two images from one build: `proxy`, and `container`, which is meant as a base (FROM gantry/container, COPY, done).
#
#   docker build --target proxy -t gantry/proxy .
#   docker build --target container -t gantry/container .
#
# Both run as the user `node` (uid 1000), write nothing outside volumes, and drain on SIGTERM.

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# The image has its Node already: the pinned one of the development dependencies is not installed.
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
# The command starts Node, except for health probes, which a shell makes.
COPY deploy/image/gantry /usr/local/bin/gantry
# Applications anywhere in the image `import … from 'gantry'`. The two directories are there so that empty volumes
# mounted on them belong to the user that is to write there.
RUN mkdir -p /node_modules /app /run/gantry /run/gantry-secret \
 && ln -s /opt/gantry /node_modules/gantry \
 && chown node:node /run/gantry /run/gantry-secret
# `gantry health` asks where GANTRY_HEALTH_LISTEN says: inside the container, and nowhere else.
ENV NODE_ENV=production \
    GANTRY_HEALTH_LISTEN=127.0.0.1:8001
WORKDIR /app
USER node
STOPSIGNAL SIGTERM

FROM gantry AS proxy
ENV GANTRY_LISTEN=:8080
EXPOSE 8080
# It lives when it listens. Whether a container is there (`gantry health` without --live) is no reason to replace a proxy.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["gantry", "health", "--live"]
ENTRYPOINT ["gantry", "proxy"]

FROM gantry AS container
COPY examples/hello.ts /app/application.ts
# What an image made from this one sets: its module and, where the module is none for WSGI, its interface
# (GANTRY_INTERFACE). Options may follow on the command line of a container, and a module there counts first.
ENV GANTRY_MODULE=application.ts
EXPOSE 8000
# Ready: it listens or, with --join, a proxy has taken it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=5 CMD ["gantry", "health"]
ENTRYPOINT ["gantry", "container"]
