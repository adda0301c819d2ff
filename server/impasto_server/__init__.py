"""The server of Impasto: neural style transfer as a service."""
