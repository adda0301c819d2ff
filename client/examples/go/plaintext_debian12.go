//go:build debian12

package main

import "google.golang.org/grpc"

// Debian 12 has gRPC 1.33, which does not have the package insecure yet.
func withoutTLS() grpc.DialOption {
	return grpc.WithInsecure()
}
