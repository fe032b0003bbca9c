"""The gRPC adapter: translates between protobuf and the hub, and mounts the service on grpc.aio."""
