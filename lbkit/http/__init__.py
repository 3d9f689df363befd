"""HTTP/1.1 without I/O: bytes go in, events and bytes come out (RFC 9110, RFC 9112).

`engine` speaks the protocol for both roles; the other modules are the rules that stand around it.
"""
