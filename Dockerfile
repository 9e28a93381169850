# The images of qlik-token-broker: one static program and the CA roots, nothing else.
#
#   docker build -t qlik-token-broker .                       the broker
#   docker build --target demo -t qlik-token-broker-demo .    with the simulated tenant, for development
#
# docs/deploy.md has the command with the build arguments: QTB_BUILD_COMMIT, which --version says, too, and what only the
# labels of the image say: VERSION, SOURCE (where the source is) and CREATED (RFC 3339).

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS source
# musl's resolver reads /etc/resolv.conf and /etc/hosts, and wants no libraries beside the program.
# The packages are no part of the image, so they may be as new as Debian's fixes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates musl-tools \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /source
# .dockerignore lets in what the compiler reads, and nothing else.
COPY . .

# Both share the dependencies, and so take turns.
FROM source AS build-broker
ARG QTB_BUILD_COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,sharing=locked \
    TARGET="$(uname -m)-unknown-linux-musl" \
 && cargo build --profile image --locked --no-default-features --target "$TARGET" \
 && cp "target/$TARGET/image/qlik-token-broker" /

FROM source AS build-demo
ARG QTB_BUILD_COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,sharing=locked \
    TARGET="$(uname -m)-unknown-linux-musl" \
 && cargo build --profile image --locked --target "$TARGET" \
 && cp "target/$TARGET/image/qlik-token-broker" /

# What both images have.
FROM scratch AS runtime
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# All networks, as a container has its own: these win over the keys of the files. And no huge pages, which an idle
# broker would fill with nothing.
ENV QTB__SERVER__LISTEN=0.0.0.0:8080 \
    QTB__OPS__LISTEN=0.0.0.0:9090 \
    MIMALLOC_ALLOW_THP=0
EXPOSE 8080 9090
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/qlik-token-broker"]
ARG QTB_BUILD_COMMIT=unknown
ARG VERSION=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="qlik-token-broker" \
      org.opencontainers.image.description="Verifies a portal's session and hands out cached Qlik Cloud impersonation tokens" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.revision="${QTB_BUILD_COMMIT}"

# With the simulated tenant. Not for production: whoever reaches the tenant can script it.
FROM runtime AS demo
COPY --from=build-demo /qlik-token-broker /qlik-token-broker
CMD ["simulate", "--listen", "0.0.0.0:9400"]
EXPOSE 9400

# The last is what `docker build` makes without a target.
FROM runtime AS broker
COPY --from=build-broker /qlik-token-broker /qlik-token-broker
CMD ["serve", "--config", "/etc/qlik-token-broker"]
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 \
    CMD ["/qlik-token-broker", "healthcheck"]
