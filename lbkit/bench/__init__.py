"""Live benchmarks: a scenario of the simulator on real sockets, through a real balancer."""
