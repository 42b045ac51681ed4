"""The protocol of `potstill.server.grpc_service`, compiled."""
