"""The server's side of HTTP/2 (RFC 9113), whole and without I/O: bytes in, events out; responses in, bytes out.

A `Connection` (`connection.py`) is one client's connection. It is given what arrives, returns what that means, and is
asked for what is to be written:

    connection = Connection(max_streams=100, max_header_bytes=16384, most_header_bytes=65536)
    for event in connection.receive(data, now):
        if isinstance(event, RequestReceived):
            connection.send_headers(event.stream_id, [(b":status", b"200")])
            connection.send_data(event.stream_id, b"hello", end=True)
        elif isinstance(event, DataReceived):
            connection.acknowledge(event.stream_id, len(event.data))
    transport.write(connection.output(65536))

The package serves any HTTP request and knows nothing of what is asked for. It imports the standard library alone.
"""
