# One image for every part: `cvm broker`, `cvm worker`, `cvm aws-local`, …
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
# without test/ and the other names in .dockerignore
COPY . .
# type declarations, source maps and builds for other platforms are not used at run time
RUN npm run build \
 && npm prune --omit=dev --no-audit --no-fund \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' -o -name '*.md' \) -type f -delete \
 && find node_modules -path '*/prebuilds/*' -type d \( -name 'darwin*' -o -name 'win32*' -o -name 'android*' \) -prune -exec rm -rf {} +

FROM node:24-bookworm-slim
WORKDIR /app
# two arenas: with glibc's default, several for each thread, the memory of a flood of connections is never given back
ENV NODE_ENV=production CVM_DATA_DIR=/data MALLOC_ARENA_MAX=2
COPY package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# the folders of volumes belong to the user that runs: a new volume takes over the owner
RUN mkdir /data /audit /aws-local /redis-password && chown node:node /data /audit /aws-local /redis-password
USER node
VOLUME /data
EXPOSE 8883
ENTRYPOINT ["node", "/app/dist/cli/cvm.js"]
CMD ["--help"]
