"""JSON-RPC requests of tests, and the errors that they are told."""


def request(method, params=None, **members):
    message = {"jsonrpc": "2.0", "method": method, **members}
    return message if params is None else message | {"params": params}


def error(code, message, request_id, data=None):
    body = {"code": code, "message": message}
    return {"jsonrpc": "2.0", "error": body if data is None else body | {"data": data}, "id": request_id}


PARSE_ERROR = error(-32700, "Parse error", None)


def invalid_request(why, request_id=None):
    return error(-32600, f"Invalid Request: {why}", request_id)


def not_found(name, request_id):
    return error(-32601, f"Method not found: {name}", request_id, {"code": 12, "status": "UNIMPLEMENTED"})


def wrong_field(field, why, request_id=1):
    data = {"code": 3, "status": "INVALID_ARGUMENT", "field": field}
    return error(-32602, f"Invalid params: {field} {why}", request_id, data)
