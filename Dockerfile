# One image, every role: docker run jetsweep worker --nats nats://hub:4222
#
#   docker build -t jetsweep .                        compiles jetsweep, DuckDB included: about 25 minutes on 2 cores
#   docker build -t jetsweep --target prebuilt .      takes the program at dist/jetsweep, compiled elsewhere for the
#                                                     same or an older glibc than the runtime image's
#
# With BuildKit, Docker's builder since version 23: the older one would want dist/jetsweep for the first form too.
# Without a registry of crates: `mkdir .cargo && cargo vendor --locked > .cargo/config.toml` before the first form. A mirror
# is a [source] section in the same file.

ARG RUST_IMAGE=rust:1.95-bookworm
# glibc and libstdc++ and nothing else: no shell, no package manager; its user `nonroot` is 65532.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUNTIME_IMAGE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="jetsweep" \
      org.opencontainers.image.description="Sweeps of backtests on a NATS JetStream work queue" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The only folder that anything is written to; the root file system may be read-only.
COPY --chown=65532:65532 deploy/docker/state /var/lib/jetsweep
COPY LICENSE /usr/share/doc/jetsweep/LICENSE
ENV JETSWEEP_STATE_DIR=/var/lib/jetsweep \
    JETSWEEP_LOG__FORMAT=json \
    JETSWEEP_HTTP__LISTEN=127.0.0.1:9464
USER 65532:65532
WORKDIR /var/lib/jetsweep
EXPOSE 9464
STOPSIGNAL SIGTERM
# The program checks itself; there is nothing else in the image that could.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/jetsweep", "health"]
ENTRYPOINT ["/usr/local/bin/jetsweep"]

FROM base AS prebuilt
COPY dist/jetsweep /usr/local/bin/jetsweep

FROM ${RUST_IMAGE} AS compile
WORKDIR /src
COPY . .
# The same selection of crates as everywhere: see scripts/lib.sh.
ARG REVISION=unknown
RUN JETSWEEP_COMMIT=${REVISION} cargo build --release --workspace --locked && strip -o /jetsweep target/release/jetsweep

FROM base AS compiled
COPY --from=compile /jetsweep /usr/local/bin/jetsweep
