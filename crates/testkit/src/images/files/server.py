"""Answers every request with who it runs as and what it was told; `check` asks whether it answers."""

import os
import pwd
import signal
import socket
import sys

PORT = 8000


def check():
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        sys.exit(0 if peer.recv(12).endswith(b"200") else 1)


def serve(arguments):
    lines = [
        "user=" + pwd.getpwuid(os.getuid()).pw_name,
        "groups=" + ",".join(str(group) for group in sorted(os.getgroups())),
        "folder=" + os.getcwd(),
        "greeting=" + os.environ.get("GREETING", ""),
        "arguments=" + " ".join(arguments),
    ]
    body = "\n".join(lines).encode() + b"\n"
    answer = b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.create_server(("", PORT)) as server:
        print("listening on", PORT, flush=True)
        while True:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)


if sys.argv[1:] == ["check"]:
    check()
serve(sys.argv[1:])
