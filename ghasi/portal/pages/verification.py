"""How a customer's own server verifies webhooks and answers them, as programs that work as they are pasted.

Each checks the signature over the body as it came, answers at once and acts afterwards.
"""

_GHASI = """# pip install ghasi
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

from ghasi.client.webhooks import VerificationError, verify

SECRET = os.environ["GHASI_WEBHOOK_SECRET"]  # whsec_...
events = Queue()  # for your workers


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        payload = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = verify(payload, self.headers, SECRET)
        except VerificationError:
            self.send_response(400)
        else:
            # A delivery may come twice: act once for each webhook-id.
            events.put((self.headers["webhook-id"], event))
            self.send_response(204)  # at once: the work is done later
        self.end_headers()


ThreadingHTTPServer(("", 8080), Receiver).serve_forever()
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
_JAVASCRIPT = """// npm install standardwebhooks
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
SNIPPETS = (("Python", _GHASI), ("Python, standardwebhooks", _STANDARD), ("JavaScript", _JAVASCRIPT))
