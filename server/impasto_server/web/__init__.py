"""The front end: what browsers, and callers without gRPC, talk to. It passes their calls on to the gateway."""
