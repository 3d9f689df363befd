"""What the standard library lacks of the Linux kernel: cheap readiness of many sockets, bpf(2), TCP_INFO."""
