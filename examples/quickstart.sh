#!/usr/bin/env bash
# The whole of Ghasi in a minute: sign up, get a token and an API key, send an SMS, see it delivered, receive the
# signed webhook, read usage and an invoice. Needs a running `make run`, curl and python3.
# GHASI_API_URL and GHASI_IDENTITY_URL say where it runs, GHASI how its command is called.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$1"; }
fail() { printf '%s\n' "$1" >&2; exit 1; }

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT

# begin addresses
API=${GHASI_API_URL:-http://127.0.0.1:8000}
IDENTITY=${GHASI_IDENTITY_URL:-http://127.0.0.1:9099}/identitytoolkit.googleapis.com/v1
GHASI=${GHASI:-.venv/bin/ghasi}

call() { curl -sS --fail-with-body --max-time 20 -H 'Content-Type: application/json' "$@"; }
show() { python3 -m json.tool --no-ensure-ascii; }
get() { # one value of an answer: get data.0.id
  python3 -c '
import json, sys
answer = value = json.load(sys.stdin)
try:
    for name in sys.argv[1].split("."):
        value = value[int(name) if name.isdigit() else name]
except (KeyError, IndexError, TypeError):
    sys.exit(f"the answer has no {sys.argv[1]}: {answer}")
print(value)' "$1"
}
# end addresses

curl -fsS -o /dev/null --max-time 5 "$API/healthz" || fail "Ghasi does not answer at $API: start it with \`make run\`."

step "Sign up at the local identity server"
# begin sign up
EMAIL=ann-$(date +%s)-$RANDOM@example.com
ID_TOKEN=$(call "$IDENTITY/accounts:signUp?key=local" \
  -d '{"email": "'"$EMAIL"'", "password": "correct horse", "returnSecureToken": true}' | get idToken)
# end sign up
echo "$EMAIL has an ID token of ${#ID_TOKEN} characters"

step "Exchange the ID token for an access token: the first time, this makes the account"
# begin token
JWT=$(call "$API/v1/auth/firebase" -d '{"id_token": "'"$ID_TOKEN"'"}' | get access_token)
call "$API/v1/auth/me" -H "Authorization: Bearer $JWT" | show
# end token

step "Create an API key, shown this once"
# begin key
KEY=$(call "$API/v1/api-keys" -H "Authorization: Bearer $JWT" -d '{"name": "Quick start"}' | get key)
# end key
echo "${KEY:0:8}..."

step "Start a web server that takes webhooks and checks their signature"
cat > "$folder/receiver.py" <<'PYTHON'
"""Takes webhooks on a free port, checks the Standard Webhooks signature, and keeps them in a file."""

import base64, hashlib, hmac, http.server, json, pathlib, sys

folder = pathlib.Path(sys.argv[1])


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        secret = (folder / "secret").read_text().strip()
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        valid = any(hmac.compare_digest(expected, one) for one in self.headers["webhook-signature"].split())
        line = {"signature": "valid" if valid else "FORGED", "webhook-id": self.headers["webhook-id"], **json.loads(body)}
        with (folder / "webhooks").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.send_response(204 if valid else 400)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
(folder / "port.new").write_text(str(server.server_port))
(folder / "port.new").rename(folder / "port")
server.serve_forever()
PYTHON
python3 "$folder/receiver.py" "$folder" &
for _ in $(seq 100); do [ -e "$folder/port" ] && break; sleep 0.1; done
RECEIVER=http://127.0.0.1:$(cat "$folder/port")/webhooks
echo "listening at $RECEIVER"

step "Have webhooks sent to it; the secret that signs them is shown this once"
# begin webhook
SECRET=$(call "$API/v1/webhooks" -H "Authorization: Bearer $KEY" \
  -d '{"url": "'"$RECEIVER"'", "events": ["message.delivered"]}' | get secret)
# end webhook
echo "$SECRET" > "$folder/secret"
echo "${SECRET:0:10}..."

step "Send an SMS"
# begin send
MESSAGE=$(call "$API/v1/messages" -H "Authorization: Bearer $KEY" -H "Idempotency-Key: order-1041" \
  -d '{"to": "+93701234567", "body": "Your bread is ready. سلام", "reference": "order-1041"}' | get id)
# end send
echo "message $MESSAGE"

step "See it delivered"
# begin delivered
for _ in $(seq 60); do
  STATUS=$(call "$API/v1/messages/$MESSAGE" -H "Authorization: Bearer $KEY" | get status)
  [ "$STATUS" != accepted ] && [ "$STATUS" != sent ] && break
  sleep 0.5
done
call "$API/v1/messages/$MESSAGE" -H "Authorization: Bearer $KEY" | show
# end delivered
[ "$STATUS" = delivered ] || fail "the message is $STATUS"

step "The webhook that arrived, its signature checked"
for _ in $(seq 60); do [ -e "$folder/webhooks" ] && break; sleep 0.5; done
[ -e "$folder/webhooks" ] || fail "no webhook arrived"
head -n 1 "$folder/webhooks" | show
[ "$(head -n 1 "$folder/webhooks" | get signature)" = valid ] || fail "the webhook's signature is wrong"
[ "$(head -n 1 "$folder/webhooks" | get data.id)" = "$MESSAGE" ] || fail "the webhook is about another message"

step "What was used this month"
for _ in $(seq 20); do
  USED=$(call "$API/v1/billing/usage" -H "Authorization: Bearer $KEY" | get totals.messages)
  [ "$USED" = 1 ] && break
  sleep 0.5
done
[ "$USED" = 1 ] || fail "the message is not in the usage"
# begin usage
call "$API/v1/billing/usage?group_by=country" -H "Authorization: Bearer $KEY" | show
# end usage

step "Close the month early, as the operator, and show the invoice"
# begin invoice
$GHASI admin invoices close --period "$(date -u +%Y-%m)" --early
INVOICE=$(call "$API/v1/billing/invoices" -H "Authorization: Bearer $KEY" | get data.0.id)
call "$API/v1/billing/invoices/$INVOICE" -H "Authorization: Bearer $KEY" | show
# end invoice

step "That was all of it"
