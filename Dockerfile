# One image for every part: `cvm broker`, `cvm worker`, `cvm aws-local`, …
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
# without test/ and the rest of .dockerignore
COPY . .
# type declarations, source maps and other runtimes' builds are of no use at run time
RUN npm run build \
 && npm prune --omit=dev --no-audit --no-fund \
 && find node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' -o -name '*.md' \) -type f -delete \
 && find node_modules -path '*/prebuilds/*' -type d \( -name 'darwin*' -o -name 'win32*' -o -name 'android*' \) -prune -exec rm -rf {} +

FROM node:24-bookworm-slim
WORKDIR /app
# two arenas: glibc's default, some for each thread, keeps for ever what a flood of connections once took
ENV NODE_ENV=production CVM_DATA_DIR=/data MALLOC_ARENA_MAX=2
COPY package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# these folders are mounted; they belong to the user that runs, or a new volume would belong to root
RUN mkdir /data /audit /aws-local && chown node:node /data /audit /aws-local
USER node
VOLUME /data
EXPOSE 8883
ENTRYPOINT ["node", "/app/dist/cli/cvm.js"]
CMD ["--help"]
