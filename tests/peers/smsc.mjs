// An SMSC made of node-smpp, which other people wrote: the other end of carriers/test_interop.py.
//
// It says what happens in JSON lines on stdout, does what JSON lines on stdin ask for, and ends when stdin closes.
// Text is decoded and encoded by node-smpp alone.

import { createInterface } from 'node:readline'
import smpp from 'smpp'

const RECEIPT_AFTER_MS = 10
const FINAL_STATES = { '0001': ['UNDELIV', 5], '0002': ['EXPIRED', 3] }
const TIMES_THROTTLED = 2

const manners = { latency_ms: 0, mute_every: 0, receipts: 'both' }
const sessions = new Set()
const throttled = new Map()
let received = 0
let unanswered = 0
let lastId = Date.now() * 1000

const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n')

function describe(pdu) {
  const userData = pdu.short_message.message?.length ? pdu.short_message : (pdu.message_payload ?? pdu.short_message)
  const { udh = [], message } = userData
  const concatenation = udh.find((element) => element[0] === 0 || element[0] === 8)
  const [reference, parts, part] = concatenation
    ? concatenation[0] === 0
      ? [concatenation[2], concatenation[3], concatenation[4]]
      : [concatenation.readUInt16BE(2), concatenation[4], concatenation[5]]
    : [pdu.sar_msg_ref_num ?? 0, pdu.sar_total_segments ?? 1, pdu.sar_segment_seqnum ?? 1]
  return {
    source: pdu.source_addr,
    destination: pdu.destination_addr,
    text: Buffer.isBuffer(message) ? message.toString('hex') : message,
    reference,
    parts,
    part,
  }
}

function statusOf(pdu) {
  const ending = pdu.destination_addr.slice(-4)
  if (ending === '0003') return smpp.ESME_RINVDSTADR
  if (ending === '0004') {
    const times = throttled.get(pdu.destination_addr) ?? 0
    throttled.set(pdu.destination_addr, times + 1)
    if (times < TIMES_THROTTLED) return smpp.ESME_RTHROTTLED
  }
  return smpp.ESME_ROK
}

function sendReceipt(systemId, pdu, id) {
  const receiver = [...sessions].find((session) => session.systemId === systemId && session.receives)
  if (!receiver) {
    setTimeout(sendReceipt, 20, systemId, pdu, id) // until one is back
    return
  }
  const [name, state] = FINAL_STATES[pdu.destination_addr.slice(-4)] ?? ['DELIVRD', 2]
  const text = `id:${id} sub:001 dlvrd:001 submit date:2611230100 done date:2611230101 stat:${name} err:000 text:`
  const optional = { receipted_message_id: id, message_state: state }
  const body = {
    source_addr: pdu.destination_addr,
    destination_addr: pdu.source_addr,
    esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
    short_message: manners.receipts === 'tlv' ? '' : text,
    ...(manners.receipts === 'text' ? {} : optional),
  }
  deliver(receiver, body, 'receipt', () => sendReceipt(systemId, pdu, id))
}

function deliver(session, body, what, again) {
  const lost = () => again?.()
  session.once('close', lost)
  session.deliver_sm(body, (answer) => {
    session.off('close', lost)
    say('acknowledged', { what, status: answer.command_status })
  })
}

function onSubmit(session, pdu) {
  received += 1
  const status = statusOf(pdu)
  const id = (lastId += 1).toString(16)
  unanswered += 1
  say('submit', { ...describe(pdu), status, unanswered })
  if (status === smpp.ESME_ROK && pdu.registered_delivery & 3) {
    setTimeout(sendReceipt, RECEIPT_AFTER_MS + manners.latency_ms, session.systemId, pdu, id)
  }
  if (manners.mute_every && received % manners.mute_every === 0) return
  const answer = () => {
    unanswered -= 1
    session.send(pdu.response(status === smpp.ESME_ROK ? { message_id: id } : { command_status: status }))
  }
  if (manners.latency_ms) setTimeout(answer, manners.latency_ms)
  else answer()
}

const server = smpp.createServer((session) => {
  session.setMaxListeners(0) // each delivery has one until it is acknowledged
  session.on('close', () => sessions.delete(session))
  session.on('error', (error) => {
    say('error', { message: error.message })
    session.destroy()
  })
  for (const command of ['bind_transceiver', 'bind_transmitter', 'bind_receiver']) {
    session.on(command, (pdu) => {
      session.systemId = pdu.system_id
      session.receives = command !== 'bind_transmitter'
      sessions.add(session)
      session.send(pdu.response({ system_id: 'node-smpp' }))
      say('bound', { command, system_id: pdu.system_id })
    })
  }
  session.on('submit_sm', (pdu) => onSubmit(session, pdu))
  session.on('enquire_link', (pdu) => session.send(pdu.response()))
  session.on('unbind', (pdu) => {
    session.send(pdu.response())
    session.close()
  })
})

const tasks = {
  behave: (asked) => Object.assign(manners, asked),
  drop: () => sessions.forEach((session) => session.socket.resetAndDestroy()),
  unbind: () => sessions.forEach((session) => session.unbind(() => session.close())),
  write: ({ hex }) => sessions.forEach((session) => session.socket.write(Buffer.from(hex, 'hex'))),
  inbound: ({ udh, text, ...more }) => {
    const receiver = [...sessions].find((session) => session.receives)
    const message = udh ? { udh: Buffer.from(udh, 'hex'), message: text } : { message: text }
    deliver(receiver, { ...more, short_message: message }, 'message')
  },
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { task, ...asked } = JSON.parse(line)
    tasks[task](asked)
    say('done')
  })
  .on('close', () => process.exit())

server.listen(0, '127.0.0.1', () => say('listening', { port: server.address().port }))
