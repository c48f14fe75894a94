# The image of wharfinger: built with everything, run with what running needs.

FROM node:26-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
# No package that builds needs its scripts; the one that would run downloads the pinned development Node.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
# Not by npm, whose search path has the development Node that is not there.
RUN node_modules/.bin/tsc -p tsconfig.build.json

FROM node:26-slim AS dependencies
WORKDIR /src
COPY package.json package-lock.json ./
# Without the pinned development Node: the image has its own.
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force

FROM node:26-slim
ENV NODE_ENV=production
# A file and not the environment, which would silently go before a file of the user's own.
RUN install -d -o node -g node /var/lib/wharfinger \
  && install -d /etc/wharfinger \
  && printf '%s\n' \
    'listen: 0.0.0.0:5000' \
    'admin:' \
    '  listen: 0.0.0.0:5001' \
    'cache:' \
    '  dir: /var/lib/wharfinger' \
    > /etc/wharfinger/config.yaml
WORKDIR /opt/wharfinger
COPY --from=dependencies /src/node_modules ./node_modules
COPY --from=build /src/dist ./dist
COPY package.json LICENSE config.example.yaml ./
USER node
VOLUME /var/lib/wharfinger
EXPOSE 5000 5001
# The admin port of the image's own configuration; who moves it gives --no-healthcheck or another check. The image has no
# curl, and needs none.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:5001/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Exec form: signals reach the mirror itself, which then lets running answers finish.
ENTRYPOINT ["node", "/opt/wharfinger/dist/cli/main.js"]
# Replaced by whatever is said after the image's name (`--config /my.yaml`); a file mounted over this one works as well.
CMD ["--config", "/etc/wharfinger/config.yaml"]
