"""Origins of pages, and lists that let them in or not: one table for every path by which a page may ask."""

LISTS = {
    "exact": ("https://example.org", "http://localhost:3000", "https://port.example:443"),
    "below": ("https://*.example.org", "https://*.example.com:8443"),
    "every": ("*",),
    "none": (),
}
"""Lists, as `allowed_origins` has them; without any every page may."""

TABLE = [
    ("exact", "https://example.org", True),
    ("exact", "http://localhost:3000", True),
    ("exact", "https://port.example", True),
    ("exact", "https://port.example:443", False),
    ("exact", "http://example.org", False),
    ("exact", "https://example.org:8443", False),
    ("exact", "https://example.org:443", False),
    ("exact", "https://example.org/", False),
    ("exact", "https://example.org.", False),
    ("exact", "https://Example.org", False),
    ("exact", "HTTPS://example.org", False),
    ("exact", "https://sub.example.org", False),
    ("exact", "https://example.org.evil.example", False),
    ("exact", "https://evil-example.org", False),
    ("exact", "https://example.org@evil.example", False),
    ("exact", "https://evil.example", False),
    ("exact", "file://", False),
    ("exact", "null", False),
    ("below", "https://sub.example.org", True),
    ("below", "https://a.b.c.example.org", True),
    ("below", "https://sub.example.com:8443", True),
    ("below", "https://example.org", False),
    ("below", "https://.example.org", False),
    ("below", "https://evilexample.org", False),
    ("below", "https://sub.example.org.evil.example", False),
    ("below", "https://evil.example/.example.org", False),
    ("below", "https://evil.example#.example.org", False),
    ("below", "https://evil.example?.example.org", False),
    ("below", "https://evil.example:80.example.org", False),
    ("below", "https://sub.example.com", False),
    ("below", "http://sub.example.org", False),
    ("below", "https://sub.example.org:443", False),
    ("below", f"https://{'a.' * 1000}evil", False),
    ("below", "null", False),
    ("every", "https://example.org", True),
    ("every", "null", True),
    ("none", "https://example.org", True),
    ("none", "null", True),
]
"""A list by its name, a page's origin, and whether that is allowed."""
IDS = [f"{listed}-{origin[:50]}" for listed, origin, _ in TABLE]
