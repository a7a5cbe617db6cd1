# Two images from one build: `proxy`, and `container`, which is meant as a base (FROM gantry/container, COPY, done).

FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# The image has its Node already: the pinned one of the development dependencies is not installed.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN node build.ts --out /gantry \
 && cp package-lock.json /gantry/ \
 && cd /gantry \
 && npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && rm package-lock.json

FROM node:24-bookworm-slim AS gantry
COPY --from=build /gantry /opt/gantry
# On the command line as `gantry`, and for applications anywhere in the image as `import … from 'gantry'`.
RUN ln -s /opt/gantry/dist/gantry.js /usr/local/bin/gantry \
 && mkdir -p /node_modules /app /run/gantry \
 && ln -s /opt/gantry /node_modules/gantry \
 && chown node:node /run/gantry
ENV NODE_ENV=production
WORKDIR /app
USER node
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="WSGI for TypeScript: a reverse proxy and separately scaled application containers" \
      org.opencontainers.image.licenses="MIT"

FROM gantry AS proxy
ENV GANTRY_LISTEN=:8080
EXPOSE 8080
ENTRYPOINT ["gantry", "proxy"]

FROM gantry AS container
COPY examples/hello.ts /app/application.ts
EXPOSE 8000
ENTRYPOINT ["gantry", "container"]
CMD ["application.ts"]
