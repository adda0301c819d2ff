"""The front end, which browsers and callers without gRPC talk to. It passes calls on to the gateway."""
