"""Plain HTTP/1.1 for operators: `/metrics`, `/healthz` and `/readyz`."""
