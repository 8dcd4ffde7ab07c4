// npm's standardwebhooks, which other people wrote, as a verifier of what Ghasi sends.
//
// Takes a JSON list of {secret, headers, body} on stdin; writes a JSON list of what each came to: {event} or {error}, and
// the signature that the package itself makes of it. Bodies are in base64, for they are bytes.

import { text } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'

const outcomes = JSON.parse(await text(process.stdin)).map(({ secret, headers, body }) => {
  const payload = Buffer.from(body, 'base64')
  const webhook = new Webhook(secret)
  const signature = webhook.sign(headers['webhook-id'], new Date(headers['webhook-timestamp'] * 1000), payload)
  try {
    return { event: webhook.verify(payload, headers), signature }
  } catch (error) {
    return { error: error.message, signature }
  }
})
process.stdout.write(JSON.stringify(outcomes))
