# Two images. For Redis or for Valkey, with the module in it:
#     docker build --target server --build-arg BASE=redis:7.4-bookworm -t miroir-redis:0.1.0 .
#     docker build --target server --build-arg BASE=valkey/valkey:8.0-bookworm -t miroir-redis:0.1.0 .
# and the exporter of metrics:
#     docker build --target exporter -t miroir-exporter:0.1.0 .
# All bases are Debian 12, whose libraries the module is built against.
ARG BASE=redis:7.4-bookworm

FROM rust:1.88-bookworm AS build
# The bindings to the server's interface are made by libclang. Whatever version Debian 12 has will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .

FROM build AS build-module
RUN cargo build --release --locked

FROM build AS build-exporter
RUN cargo build --release --locked --example exporter

FROM debian:12-slim AS exporter
COPY --from=build-exporter /build/target/release/examples/exporter /usr/local/bin/miroir-exporter
USER 65534:65534
EXPOSE 9721
ENTRYPOINT ["miroir-exporter"]
CMD ["--listen", "0.0.0.0:9721"]

# hadolint ignore=DL3006
FROM ${BASE} AS server
COPY --from=build-module --chmod=755 /build/target/release/libmiroir.so /usr/lib/redis/modules/libmiroir.so
# The image's own entry point starts it. Both images know the name redis-server.
CMD ["redis-server", "--loadmodule", "/usr/lib/redis/modules/libmiroir.so"]
