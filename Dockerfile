# One image for every part: `cvm broker`, `cvm worker`, `cvm aws-local`, …
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
# without test/ and the other names in .dockerignore
COPY . .
# type declarations, source maps and builds for other platforms are not used at run time; licences are kept, as they ask for it
RUN npm run build -- --sourceMap false \
 && chmod +x dist/cli/cvm.js \
 && npm prune --omit=dev --no-audit --no-fund \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' -o -name '*.md' \) -type f ! -iname 'licen[cs]e*' ! -iname 'notice*' -delete \
 && find node_modules -path '*/prebuilds/*' -type d \( -name 'darwin*' -o -name 'win32*' -o -name 'android*' \) -prune -exec rm -rf {} +
# a clone under a umask of 077 has files that its owner alone may read, and the image runs as another user
RUN chmod -R a+rX package.json dist node_modules deploy/container && chmod a+x deploy/container/cvm-health
# the commit that it is built from, as `cvm --version` says it
ARG REVISION=
RUN printf '%s' "$REVISION" > revision

# node alone, on the Debian that the image above is made of: npm and yarn would only be more to keep up to date
FROM debian:bookworm-slim
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node
WORKDIR /app
# two arenas: with glibc's default, several for each thread, the memory of a flood of connections is never given back
ENV NODE_ENV=production CVM_DATA_DIR=/data MALLOC_ARENA_MAX=2
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /app/package.json /app/revision ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/deploy/container/cvm-health /usr/local/bin/cvm-health
# the folders of volumes belong to the user that runs, redis-data to that of Valkey and Redis: a new volume takes over the owner
RUN ln -s /app/dist/cli/cvm.js /usr/local/bin/cvm \
 && cd / && mkdir data audit aws-local aws-gateway redis-password metrics-token grafana-password redis-data templates tls ca home/node/.aws \
 && chown node:node data audit aws-local aws-gateway redis-password metrics-token grafana-password templates tls ca home/node/.aws \
 && chown 999:999 redis-data && chmod 700 data audit
USER node
# devices, the console, metrics of broker and worker
EXPOSE 8883 8443 9464 9465
ENTRYPOINT ["cvm"]
CMD ["--help"]
# a test compares the version with package.json
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="cvm-gateway" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
