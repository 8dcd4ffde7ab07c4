"""How a customer's own server verifies webhooks and answers them, as programs that work as they are pasted.

Each checks the signature over the body as it came, answers at once and acts afterwards. The first two need no package,
and stand in docs/webhooks.md as well.
"""

PYTHON_VERIFY = """import base64
import hashlib
import hmac
import json
import time


def verify(secret, headers, body, tolerance_s=300):
    \"\"\"Return the event; raise ValueError if the request is no webhook of ours, or too old.\"\"\"
    headers = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > tolerance_s:
        raise ValueError("no webhook, or too old")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body  # the body's bytes as they came
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    # There are two for 24 hours after a secret was replaced: one that is right is enough.
    given = headers.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(one.encode(), expected) for one in given):
        raise ValueError("no signature matches")
    return json.loads(body)
"""
PYTHON_RECEIVE = """import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

SECRET = os.environ["GHASI_WEBHOOK_SECRET"]  # whsec_...
events = Queue()  # for your workers


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = verify(SECRET, self.headers, body)
        except ValueError:
            self.send_response(400)
        else:
            # A delivery may come twice: act once for each webhook-id.
            events.put((self.headers["webhook-id"], event))
            self.send_response(204)  # at once: the work is done later
        self.end_headers()


ThreadingHTTPServer(("", 8080), Receiver).serve_forever()
"""
JAVASCRIPT_VERIFY = """import { createHmac, timingSafeEqual } from "node:crypto";

// Returns the event; throws if the request is no webhook of ours, or too old. Names of headers are in lower case.
function verify(secret, headers, body, toleranceSeconds = 300) {
  const id = headers["webhook-id"] ?? "", timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]{1,10}$/.test(timestamp) || Math.abs(Date.now() / 1000 - timestamp) > toleranceSeconds)
    throw new Error("no webhook, or too old");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  // the body's bytes as they came
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${signature}`);
  // There are two for 24 hours after a secret was replaced: one that is right is enough.
  const given = (headers["webhook-signature"] ?? "").split(" ").map((one) => Buffer.from(one));
  if (!given.some((one) => one.length === expected.length && timingSafeEqual(one, expected)))
    throw new Error("no signature matches");
  return JSON.parse(body);
}
"""
JAVASCRIPT_RECEIVE = """import { createServer } from "node:http";

const secret = process.env.GHASI_WEBHOOK_SECRET; // whsec_...

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let event;
  try {
    event = verify(secret, request.headers, Buffer.concat(chunks));
  } catch {
    response.writeHead(400).end();
    return;
  }
  response.writeHead(204).end(); // at once: the work is done later
  // A delivery may come twice: act once for each webhook-id.
  setImmediate(() => handle(request.headers["webhook-id"], event));
}).listen(8080);

function handle(id, event) {
  console.log(id, event.type, event.data.id);
}
"""
_STANDARD = """# pip install standardwebhooks
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

from standardwebhooks.webhooks import Webhook

webhook = Webhook(os.environ["GHASI_WEBHOOK_SECRET"])  # whsec_...
events = Queue()  # for your workers


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        payload = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(payload, self.headers)
        except Exception:  # malformed headers raise more than WebhookVerificationError
            self.send_response(400)
        else:
            # A delivery may come twice: act once for each webhook-id.
            events.put((self.headers["webhook-id"], event))
            self.send_response(204)  # at once: the work is done later
        self.end_headers()


ThreadingHTTPServer(("", 8080), Receiver).serve_forever()
"""
_STANDARD_JAVASCRIPT = """// npm install standardwebhooks
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.GHASI_WEBHOOK_SECRET); // whsec_...

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let event;
  try {
    event = webhook.verify(Buffer.concat(chunks), request.headers);
  } catch {
    response.writeHead(400).end();
    return;
  }
  response.writeHead(204).end(); // at once: the work is done later
  // A delivery may come twice: act once for each webhook-id.
  setImmediate(() => handle(request.headers["webhook-id"], event));
}).listen(8080);

function handle(id, event) {
  console.log(id, event.type, event.data.id);
}
"""
SNIPPETS = (
    ("Python", f"{PYTHON_VERIFY}\n\n{PYTHON_RECEIVE}"),
    ("JavaScript", f"{JAVASCRIPT_VERIFY}\n{JAVASCRIPT_RECEIVE}"),
    ("Python, standardwebhooks", _STANDARD),
    ("JavaScript, standardwebhooks", _STANDARD_JAVASCRIPT),
)
