"""A receiver of webhooks that checks each message with the official library, and a server of one small file.

Prints its port; takes the secret as the first line of its input; then prints a line of JSON for each message. The first
message is answered 500, so that a second try is seen. Ends with its input.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

FILE = b"id,text\nT-1,I was charged twice\nT-2,The app crashes\nT-3,My parcel is lost\n"
secret = None
secret_known = threading.Event()
lock = threading.Lock()
messages = 0


class Receiver(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/csv")
        self.send_header("content-length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def do_POST(self):
        global messages
        body = self.rfile.read(int(self.headers["content-length"]))
        secret_known.wait(30)
        headers = dict(self.headers.items())
        line = {"path": self.path, "id": self.headers.get("webhook-id")}
        try:
            line["verified"] = Webhook(secret).verify(body, headers)
        except WebhookVerificationError as error:
            line["refused"] = str(error)
        try:
            Webhook(secret).verify(body + b" ", headers)
            line["forged"] = True
        except WebhookVerificationError:
            line["forged"] = False
        with lock:
            messages += 1
            line["n"] = messages
            print(json.dumps(line), flush=True)
        self.send_response(500 if line["n"] == 1 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
secret = sys.stdin.readline().strip()
secret_known.set()
sys.stdin.read()
