# The image of wharfinger: built with everything, run with what running needs.

FROM node:26-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:26-slim AS dependencies
WORKDIR /src
COPY package.json package-lock.json ./
# Without the pinned development Node: the image has its own.
RUN npm ci --omit=dev && npm cache clean --force

FROM node:26-slim
ENV NODE_ENV=production \
    WHARFINGER_LISTEN=0.0.0.0:5000 \
    WHARFINGER_ADMIN_LISTEN=0.0.0.0:5001 \
    WHARFINGER_CACHE_DIR=/var/lib/wharfinger
RUN install -d -o node -g node /var/lib/wharfinger
WORKDIR /opt/wharfinger
COPY --from=dependencies /src/node_modules ./node_modules
COPY --from=build /src/dist ./dist
COPY package.json LICENSE config.example.yaml ./
USER node
VOLUME /var/lib/wharfinger
EXPOSE 5000 5001
# The port is the one that WHARFINGER_ADMIN_LISTEN names; the image has no curl, and needs none.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.WHARFINGER_ADMIN_LISTEN.split(':').pop() + '/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Exec form: signals reach the mirror itself, which then lets running answers finish.
ENTRYPOINT ["node", "/opt/wharfinger/dist/cli/main.js"]
