"""The I/O half of the balancer: listeners, connecting to servers, tcp sessions, http forwarding."""
