"""The Python application that uWSGI runs: the smallest of the same contract."""

BODY = b"Hello world!\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def application(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
