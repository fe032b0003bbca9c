"""The carrier: the only code that touches sockets, clocks and timers. It knows no protocol."""
